#include "scan.h"

#include <stdlib.h>
#include <string.h>

struct scanner scanner_over(const char *bytes, size_t length, struct arena *arena)
{
    struct scanner scanner = { bytes, bytes, bytes + length, arena, NULL, NULL };
    return scanner;
}

bool scan_error(struct scanner *scanner, const char *at, const char *error)
{
    if (scanner->error == NULL) {
        scanner->error = error;
        scanner->error_at = at;
    }
    return false;
}

struct position scan_position(const struct scanner *scanner, const char *at)
{
    struct position position = { 1, 1 };
    for (const char *c = scanner->start; c < at; c++) {
        if (*c == '\n') {
            position.line++;
            position.column = 1;
        } else if (((unsigned char)*c & 0xc0) != 0x80) { /* not the middle of a character */
            position.column++;
        }
    }
    return position;
}

size_t utf8_length(const char *at, const char *end)
{
    const unsigned char *byte = (const unsigned char *)at;
    size_t length;
    unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte */
    if (byte[0] < 0x80)
        return 1;
    if (byte[0] >= 0xc2 && byte[0] <= 0xdf) {
        length = 2;
    } else if (byte[0] >= 0xe0 && byte[0] <= 0xef) {
        length = 3;
        if (byte[0] == 0xe0)
            low = 0xa0; /* shorter forms exist */
        if (byte[0] == 0xed)
            high = 0x9f; /* surrogates */
    } else if (byte[0] >= 0xf0 && byte[0] <= 0xf4) {
        length = 4;
        if (byte[0] == 0xf0)
            low = 0x90;
        if (byte[0] == 0xf4)
            high = 0x8f; /* beyond U+10FFFF */
    } else {
        return 0;
    }
    if ((size_t)(end - at) < length || byte[1] < low || byte[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

/* ---- strings -------------------------------------------------------------- */

static char *put_utf8(char *to, unsigned code_point)
{
    if (code_point < 0x80) {
        *to++ = (char)code_point;
    } else if (code_point < 0x800) {
        *to++ = (char)(0xc0 | code_point >> 6);
        *to++ = (char)(0x80 | (code_point & 0x3f));
    } else if (code_point < 0x10000) {
        *to++ = (char)(0xe0 | code_point >> 12);
        *to++ = (char)(0x80 | (code_point >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code_point & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code_point >> 18);
        *to++ = (char)(0x80 | (code_point >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code_point >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code_point & 0x3f));
    }
    return to;
}

/* The four digits after \u; -1 if they are not four digits. */
static int hex4(const char *at, const char *end)
{
    int value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Decodes the escape whose backslash is at *from. NULL if it is none. The
 * result never takes more bytes than the escape did. */
static char *unescape(char *to, const char **from, const char *end)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *at = *from + 1;
    if (at == end)
        return NULL;
    const char *name = *at == '\0' ? NULL : strchr(names, *at);
    if (name != NULL) {
        *to++ = meanings[name - names];
        *from = at + 1;
        return to;
    }
    if (*at != 'u')
        return NULL;
    int unit = hex4(at + 1, end);
    if (unit < 0)
        return NULL;
    at += 5;
    unsigned code_point = (unsigned)unit;
    if (code_point >= 0xd800 && code_point <= 0xdfff) {
        int low = code_point < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u'
                      ? hex4(at + 2, end)
                      : -1;
        if (low >= 0xdc00 && low <= 0xdfff) {
            code_point = 0x10000 + ((code_point - 0xd800) << 10) + ((unsigned)low - 0xdc00);
            at += 6;
        } else {
            code_point = 0xfffd; /* half a pair has no UTF-8: the replacement character */
        }
    }
    *from = at;
    return put_utf8(to, code_point);
}

/* Finds the closing quote and checks all in between but the escapes' insides. */
static const char *find_quote(struct scanner *scanner, const char *at, bool *has_escapes)
{
    *has_escapes = false;
    while (at < scanner->end && *at != '"') {
        unsigned char c = (unsigned char)*at;
        size_t length = 1;
        if (c == '\\') {
            *has_escapes = true;
            length = 2;
        } else if (c < 0x20) {
            scan_error(scanner, at, "control character in a string; write it as an escape");
            return NULL;
        } else if (c >= 0x80) {
            length = utf8_length(at, scanner->end);
            if (length == 0) {
                scan_error(scanner, at, "byte that is not UTF-8");
                return NULL;
            }
        }
        if ((size_t)(scanner->end - at) < length)
            break;
        at += length;
    }
    if (at >= scanner->end || *at != '"') {
        scan_error(scanner, scanner->at, "string without a closing quote");
        return NULL;
    }
    return at;
}

bool scan_string(struct scanner *scanner, struct text *string)
{
    bool has_escapes;
    const char *from = scanner->at + 1;
    const char *quote = find_quote(scanner, from, &has_escapes);
    if (quote == NULL)
        return false;
    if (!has_escapes) {
        string->bytes = from;
        string->length = (size_t)(quote - from);
        scanner->at = quote + 1;
        return true;
    }

    char *decoded = arena_allocate(scanner->arena, (size_t)(quote - from), 1);
    char *to = decoded;
    while (from < quote) {
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        const char *escape = from;
        to = unescape(to, &from, quote);
        if (to == NULL)
            return scan_error(scanner, escape, "unknown escape in a string");
    }
    string->bytes = decoded;
    string->length = (size_t)(to - decoded);
    scanner->at = quote + 1;
    return true;
}

/* ---- numbers -------------------------------------------------------------- */

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* RFC 8259, section 6. */
static const char *number_end(struct scanner *scanner)
{
    const char *at = scanner->at, *end = scanner->end, *digits;
    if (at < end && *at == '-')
        at++;
    digits = at;
    at = skip_digits(at, end);
    if (at == digits)
        return scan_error(scanner, at, "number without digits"), NULL;
    if (*digits == '0' && at - digits > 1)
        return scan_error(scanner, digits, "number with a leading zero"), NULL;
    if (at < end && *at == '.') {
        digits = ++at;
        at = skip_digits(at, end);
        if (at == digits)
            return scan_error(scanner, at, "number without digits after its point"), NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        digits = at;
        at = skip_digits(at, end);
        if (at == digits)
            return scan_error(scanner, at, "number without digits in its exponent"), NULL;
    }
    return at;
}

bool scan_number(struct scanner *scanner, const struct value **number)
{
    const char *end = number_end(scanner);
    if (end == NULL)
        return false;
    struct text literal = { scanner->at, (size_t)(end - scanner->at) };

    /* strtod needs a terminated string. */
    char short_copy[32];
    char *copy = literal.length < sizeof short_copy
                     ? short_copy
                     : arena_allocate(scanner->arena, literal.length + 1, 1);
    memcpy(copy, literal.bytes, literal.length);
    copy[literal.length] = '\0';
    *number = value_from_literal(scanner->arena, strtod(copy, NULL), literal);
    scanner->at = end;
    return true;
}
