/* What text tools do all day: look for a byte, measure lines, compare words. */

#include "kernels.h"

enum { TEXT_BYTES = 64 * 1024 };

static unsigned char text[TEXT_BYTES];

static void write_text(void)
{
    uint32_t random = 88172645;
    for (int i = 0; i < TEXT_BYTES; i++) {
        uint32_t choice = next_random(&random) % 80;
        text[i] = (unsigned char)(choice == 0 ? '\n' : choice < 13 ? ' ' : 'a' + choice % 26);
    }
    text[TEXT_BYTES - 1] = '\n';
}

static const unsigned char *find_byte(const unsigned char *at, const unsigned char *end,
                                      unsigned char wanted)
{
    while (at < end && *at != wanted)
        at++;
    return at;
}

static const unsigned char *find_word(const unsigned char *at, const unsigned char *end,
                                      const char *word, int length)
{
    while ((at = find_byte(at, end, (unsigned char)word[0])) + length <= end) {
        int same = 1;
        while (same < length && at[same] == (unsigned char)word[same])
            same++;
        if (same == length)
            return at;
        at++;
    }
    return end;
}

static uint64_t scan(uint64_t checksum)
{
    const unsigned char *end = text + TEXT_BYTES;
    for (const unsigned char *line = text; line < end;) {
        const unsigned char *stop = find_byte(line, end, '\n');
        checksum = fold(checksum, (uint64_t)(stop - line));
        line = stop + 1;
    }
    for (const unsigned char *at = text; (at = find_word(at, end, "th", 2)) < end; at++)
        checksum = fold(checksum, (uint64_t)(at - text));
    return checksum;
}

long long strings(int n)
{
    uint64_t checksum = 0;
    write_text();
    for (int i = 0; i < n; i++) {
        checksum = scan(checksum);
        /* Another text each round, so that no round can be saved. */
        text[(i * 7919) % TEXT_BYTES] ^= 1;
    }
    return (long long)checksum;
}
