#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool fail_sql(struct error *error, size_t offset, const char *format, ...)
{
    if (error->kind != ERROR_NONE)
        return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->kind = ERROR_SQL;
    error->offset = offset;
    return false;
}

bool fail_corrupt(struct error *error, const char *format, ...)
{
    if (error->kind != ERROR_NONE)
        return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->kind = ERROR_CORRUPT;
    return false;
}

bool fail_io(struct error *error, const char *what)
{
    if (error->kind != ERROR_NONE)
        return false;
    snprintf(error->message, sizeof error->message, "%s: %s", what, strerror(errno));
    error->kind = ERROR_IO;
    return false;
}
