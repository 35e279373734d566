/* JSON text in and out. */

#ifndef JSONQ_JSON_H
#define JSONQ_JSON_H

#include "scan.h"

/* Reads the next value of a stream of values separated by blanks.
 *
 * Returns false at the end of the stream and on an error; the two differ in
 * whether `scanner->error` is set. */
bool json_read(struct scanner *scanner, const struct value **value);

/* Text under construction, kept from one value to the next to be reused. */
struct output {
    char *bytes;
    size_t length;
    size_t capacity;
};

enum json_style { JSON_PRETTY, JSON_COMPACT };

/* Appends the text of a value, without a newline after it. */
void json_write(struct output *output, const struct value *value, enum json_style style);

void output_append(struct output *output, const char *bytes, size_t length);

/* Gives the text's memory back; its length stays. */
void output_free(struct output *output);

#endif
