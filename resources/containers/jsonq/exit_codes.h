#ifndef JSONQ_EXIT_CODES_H
#define JSONQ_EXIT_CODES_H

/* As jq's, but for input that is not JSON, which jq reports with 2. */
enum {
    EXIT_OK = 0,
    EXIT_USAGE = 2,  /* wrong options, or a file that cannot be read or written */
    EXIT_FILTER = 3, /* the filter is not in the language */
    EXIT_DATA = 5,   /* input that is not JSON, or that the filter cannot be applied to */
};

#endif
