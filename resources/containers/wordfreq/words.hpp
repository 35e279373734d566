// Splits a stream of bytes into words.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace wordfreq {

// Is fed blocks of a UTF-8 text and reports each word as soon as it is complete.
// Words, and characters of several bytes, may begin in one block and end in
// another. A byte that is not UTF-8 ends the word before it.
class Splitter {
  public:
    // Called with each word and its length in characters; the string is only
    // lent for the call.
    using Sink = std::function<void(const std::string &word, size_t characters)>;

    Splitter(bool ignore_case, Sink sink);

    void feed(const unsigned char *bytes, size_t count);

    // Reports the word the text ends with, if it does.
    void finish();

  private:
    void take_byte(unsigned char byte);
    void take_code_point(uint32_t code_point);
    void take_garbage();
    void append(uint32_t code_point);
    void end_word();

    const bool ignore_case_;
    const Sink sink_;

    std::string word_;
    size_t characters_ = 0;
    uint32_t pending_joiner_ = 0;  // seen after the word; part of it if more follows

    uint32_t partial_ = 0;   // bits of a character whose bytes are still coming
    uint32_t smallest_ = 0;  // what it has to be at least, or it was written too long
    int missing_ = 0;        // how many bytes are still to come
};

}  // namespace wordfreq
