/* The JSON grammar of RFC 8259, by recursive descent. */

#include <string.h>

#include "json.h"

static bool read_value(struct scanner *scanner, unsigned depth, const struct value **value);

static void skip_blanks(struct scanner *scanner)
{
    while (scanner->at < scanner->end && (*scanner->at == ' ' || *scanner->at == '\n' ||
                                          *scanner->at == '\t' || *scanner->at == '\r'))
        scanner->at++;
}

static bool read_word(struct scanner *scanner, const char *word, const struct value *meaning,
                      const struct value **value)
{
    size_t length = strlen(word);
    if ((size_t)(scanner->end - scanner->at) < length ||
        memcmp(scanner->at, word, length) != 0)
        return scan_error(scanner, scanner->at, "expected a value");
    scanner->at += length;
    *value = meaning;
    return true;
}

static bool read_array(struct scanner *scanner, unsigned depth, const struct value **value)
{
    struct list items = { 0 };
    scanner->at++;
    skip_blanks(scanner);
    if (scan_peek(scanner) == ']') {
        scanner->at++;
    } else {
        for (;;) {
            const struct value *item;
            if (!read_value(scanner, depth, &item))
                return false;
            list_push(scanner->arena, &items, item);
            skip_blanks(scanner);
            unsigned char next = scan_peek(scanner);
            if (next != ',' && next != ']')
                return scan_error(scanner, scanner->at, "expected ',' or ']' after an array item");
            scanner->at++;
            if (next == ']')
                break;
        }
    }
    *value = value_from_list(scanner->arena, items);
    return true;
}

static bool read_field(struct scanner *scanner, unsigned depth, struct object *object)
{
    struct text key;
    const struct value *value;
    skip_blanks(scanner);
    if (scan_peek(scanner) != '"')
        return scan_error(scanner, scanner->at, "expected a key in quotes");
    if (!scan_string(scanner, &key))
        return false;
    skip_blanks(scanner);
    if (scan_peek(scanner) != ':')
        return scan_error(scanner, scanner->at, "expected ':' after a key");
    scanner->at++;
    if (!read_value(scanner, depth, &value))
        return false;
    object_set(scanner->arena, object, key, value);
    return true;
}

static bool read_object(struct scanner *scanner, unsigned depth, const struct value **value)
{
    struct object object = { 0 };
    scanner->at++;
    skip_blanks(scanner);
    if (scan_peek(scanner) == '}') {
        scanner->at++;
    } else {
        for (;;) {
            if (!read_field(scanner, depth, &object))
                return false;
            skip_blanks(scanner);
            unsigned char next = scan_peek(scanner);
            if (next != ',' && next != '}')
                return scan_error(scanner, scanner->at, "expected ',' or '}' after a field");
            scanner->at++;
            if (next == '}')
                break;
        }
    }
    *value = value_from_object(scanner->arena, object);
    return true;
}

/* `depth` counts the arrays and objects around the value. The limit here is the
 * limit of value_from_list and value_from_object, which cannot fail therefore. */
static bool read_value(struct scanner *scanner, unsigned depth, const struct value **value)
{
    skip_blanks(scanner);
    if (scanner->at == scanner->end)
        return scan_error(scanner, scanner->at, "the text ends where a value is expected");
    unsigned char next = scan_peek(scanner);
    switch (next) {
    case '{':
    case '[':
        if (depth == DEPTH_LIMIT)
            return scan_error(scanner, scanner->at, "more than 256 arrays and objects in each other");
        return next == '{' ? read_object(scanner, depth + 1, value)
                           : read_array(scanner, depth + 1, value);
    case '"': {
        struct text string;
        if (!scan_string(scanner, &string))
            return false;
        *value = value_from_text(scanner->arena, string);
        return true;
    }
    case 't':
        return read_word(scanner, "true", &json_true, value);
    case 'f':
        return read_word(scanner, "false", &json_false, value);
    case 'n':
        return read_word(scanner, "null", &json_null, value);
    default:
        if (next == '-' || (next >= '0' && next <= '9'))
            return scan_number(scanner, value);
        return scan_error(scanner, scanner->at, "expected a value");
    }
}

/* Scalars of a stream need something between them: 12 is not 1 and 2. */
static bool may_follow(struct scanner *scanner, const struct value *value)
{
    if (value->kind == JSON_STRING || value->kind == JSON_ARRAY || value->kind == JSON_OBJECT ||
        scanner->at == scanner->end)
        return true;
    return strchr(" \n\t\r\"[{", scan_peek(scanner)) != NULL && scan_peek(scanner) != '\0';
}

bool json_read(struct scanner *scanner, const struct value **value)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    if (scanner->at == scanner->start && scanner->end - scanner->at >= 3 &&
        memcmp(scanner->at, byte_order_mark, 3) == 0)
        scanner->at += 3;
    skip_blanks(scanner);
    if (scanner->at == scanner->end || !read_value(scanner, 0, value))
        return false;
    if (!may_follow(scanner, *value))
        return scan_error(scanner, scanner->at, "expected a blank after a value");
    return true;
}
