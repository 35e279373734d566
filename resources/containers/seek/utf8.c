#include "utf8.h"

#define FIRST_SURROGATE 0xd800u
#define LAST_SURROGATE 0xdfffu

/* The greatest code points that take 1, 2, 3 and 4 bytes. */
static const uint32_t greatest[UTF8_MAX_BYTES] = { 0x7f, 0x7ff, 0xffff, 0x10ffff };

size_t utf8_decode(const char *at, const char *end, uint32_t *code_point)
{
    const unsigned char *byte = (const unsigned char *)at;
    if (at >= end)
        return 0;
    if (byte[0] < 0x80) {
        *code_point = byte[0];
        return 1;
    }
    size_t length = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || (size_t)(end - at) < length)
        return 0;
    uint32_t value = byte[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (byte[i] & 0x3f);
    }
    if (value <= greatest[length - 2] || value > greatest[3] ||
        (value >= FIRST_SURROGATE && value <= LAST_SURROGATE))
        return 0;
    *code_point = value;
    return length;
}

static int encode(uint32_t code_point, unsigned char *bytes)
{
    int length = 1;
    while (code_point > greatest[length - 1])
        length++;
    for (int i = length - 1; i > 0; i--) {
        bytes[i] = (unsigned char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    static const unsigned char marks[UTF8_MAX_BYTES] = { 0, 0xc0, 0xe0, 0xf0 };
    bytes[0] = (unsigned char)(marks[length - 1] | code_point);
    return length;
}

/* Divides the range until both ends take as many bytes and every byte but the
 * first in which they differ runs over all of its values: then the encodings
 * are those between the bytes of both ends. */
void utf8_sequences(uint32_t first, uint32_t last,
                    void (*take)(void *context, const struct utf8_sequence *sequence),
                    void *context)
{
    while (first <= last) {
        uint32_t end = last; /* of the part taken now; the rest is left to the loop */
        if (first >= FIRST_SURROGATE && first <= LAST_SURROGATE) {
            first = LAST_SURROGATE + 1;
            continue;
        }
        if (first < FIRST_SURROGATE && end >= FIRST_SURROGATE)
            end = FIRST_SURROGATE - 1;
        for (int i = 0; i < UTF8_MAX_BYTES - 1; i++) {
            if (first <= greatest[i] && end > greatest[i])
                end = greatest[i];
        }
        if (end > 0x7f) {
            for (int bits = 6; bits <= 18; bits += 6) {
                uint32_t low = (1u << bits) - 1;
                if ((first & ~low) == (end & ~low))
                    break;
                if ((first & low) != 0) /* up to where the next value starts */
                    end = first | low;
                else if ((end & low) != low) /* down to where the last value ended */
                    end = (end & ~low) - 1;
            }
        }
        struct utf8_sequence sequence;
        sequence.length = encode(first, sequence.first);
        encode(end, sequence.last);
        take(context, &sequence);
        first = end + 1;
    }
}
