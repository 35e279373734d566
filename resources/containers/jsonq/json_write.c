/* Values as text: strings escaped, numbers as they were written. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

void output_append(struct output *output, const char *bytes, size_t length)
{
    if (output->capacity - output->length < length) {
        if (length > SIZE_MAX / 2 - output->length)
            out_of_memory();
        size_t capacity = (output->length + length) * 2;
        char *moved = realloc(output->bytes, capacity);
        if (moved == NULL)
            out_of_memory();
        output->bytes = moved;
        output->capacity = capacity;
    }
    if (length > 0)
        memcpy(output->bytes + output->length, bytes, length);
    output->length += length;
}

void output_free(struct output *output)
{
    free(output->bytes);
    output->bytes = NULL;
    output->capacity = 0;
}

static void append_c_string(struct output *output, const char *string)
{
    output_append(output, string, strlen(string));
}

static void write_string(struct output *output, struct text string)
{
    output_append(output, "\"", 1);
    size_t plain = 0; /* start of what needs no escape and is not yet written */
    for (size_t i = 0; i < string.length; i++) {
        unsigned char c = (unsigned char)string.bytes[i];
        char escape[8];
        switch (c) {
        case '"': strcpy(escape, "\\\""); break;
        case '\\': strcpy(escape, "\\\\"); break;
        case '\b': strcpy(escape, "\\b"); break;
        case '\f': strcpy(escape, "\\f"); break;
        case '\n': strcpy(escape, "\\n"); break;
        case '\r': strcpy(escape, "\\r"); break;
        case '\t': strcpy(escape, "\\t"); break;
        default:
            if (c >= 0x20 && c != 0x7f)
                continue;
            snprintf(escape, sizeof escape, "\\u%04x", c);
        }
        output_append(output, string.bytes + plain, i - plain);
        append_c_string(output, escape);
        plain = i + 1;
    }
    output_append(output, string.bytes + plain, string.length - plain);
    output_append(output, "\"", 1);
}

static void write_number(struct output *output, const struct number *number)
{
    if (number->literal.bytes != NULL) {
        output_append(output, number->literal.bytes, number->literal.length);
        return;
    }
    /* JSON has no word for these two; jq writes them like this. */
    if (isnan(number->value)) {
        append_c_string(output, "null");
        return;
    }
    double value = isinf(number->value) ? copysign(1.7976931348623157e308, number->value)
                                        : number->value;
    char digits[32];
    if (value == trunc(value) && fabs(value) < 1e17) { /* as people write whole numbers */
        snprintf(digits, sizeof digits, "%.0f", value);
        append_c_string(output, digits);
        return;
    }
    /* The fewest digits that read back as the same number; 17 always do. */
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    append_c_string(output, digits);
}

/* Starts a line inside an array or object; nothing in compact style. */
static void start_line(struct output *output, enum json_style style, unsigned indent)
{
    if (style == JSON_COMPACT)
        return;
    output_append(output, "\n", 1);
    for (unsigned i = 0; i < indent; i++)
        output_append(output, "  ", 2);
}

static void write_value(struct output *output, const struct value *value, enum json_style style,
                        unsigned indent)
{
    switch (value->kind) {
    case JSON_NULL:
        append_c_string(output, "null");
        break;
    case JSON_FALSE:
        append_c_string(output, "false");
        break;
    case JSON_TRUE:
        append_c_string(output, "true");
        break;
    case JSON_NUMBER:
        write_number(output, &value->number);
        break;
    case JSON_STRING:
        write_string(output, value->string);
        break;
    case JSON_ARRAY:
        output_append(output, "[", 1);
        for (size_t i = 0; i < value->array.count; i++) {
            if (i > 0)
                output_append(output, ",", 1);
            start_line(output, style, indent + 1);
            write_value(output, value->array.items[i], style, indent + 1);
        }
        if (value->array.count > 0)
            start_line(output, style, indent);
        output_append(output, "]", 1);
        break;
    case JSON_OBJECT:
        output_append(output, "{", 1);
        for (size_t i = 0; i < value->object.count; i++) {
            if (i > 0)
                output_append(output, ",", 1);
            start_line(output, style, indent + 1);
            write_string(output, value->object.fields[i].key);
            append_c_string(output, style == JSON_PRETTY ? ": " : ":");
            write_value(output, value->object.fields[i].value, style, indent + 1);
        }
        if (value->object.count > 0)
            start_line(output, style, indent);
        output_append(output, "}", 1);
        break;
    }
}

void json_write(struct output *output, const struct value *value, enum json_style style)
{
    write_value(output, value, style, 0);
}
