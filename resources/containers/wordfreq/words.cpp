#include "words.hpp"

#include <utility>

#include "letters.hpp"

namespace wordfreq {

Splitter::Splitter(bool ignore_case, Sink sink)
    : ignore_case_(ignore_case), sink_(std::move(sink)) {}

void Splitter::feed(const unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        // Most text is ASCII between characters; this keeps it out of the decoder.
        if (bytes[i] < 0x80 && missing_ == 0)
            take_code_point(bytes[i]);
        else
            take_byte(bytes[i]);
    }
}

void Splitter::finish() {
    if (missing_ > 0)
        take_garbage();
    end_word();
}

// Decodes UTF-8 byte by byte (RFC 3629).
void Splitter::take_byte(unsigned char byte) {
    if (missing_ > 0) {
        if ((byte & 0xc0) == 0x80) {
            partial_ = partial_ << 6 | (byte & 0x3f);
            if (--missing_ > 0)
                return;
            bool valid = partial_ >= smallest_ && partial_ <= 0x10ffff &&
                         !(partial_ >= 0xd800 && partial_ <= 0xdfff);
            if (valid)
                take_code_point(partial_);
            else
                take_garbage();
            return;
        }
        take_garbage();  // cut short; the byte itself may start anew
    }
    if (byte < 0x80) {
        take_code_point(byte);
    } else if (byte >= 0xc2 && byte <= 0xdf) {
        partial_ = byte & 0x1f, smallest_ = 0x80, missing_ = 1;
    } else if (byte >= 0xe0 && byte <= 0xef) {
        partial_ = byte & 0x0f, smallest_ = 0x800, missing_ = 2;
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        partial_ = byte & 0x07, smallest_ = 0x10000, missing_ = 3;
    } else {
        take_garbage();
    }
}

void Splitter::take_garbage() {
    missing_ = 0;
    end_word();
}

void Splitter::take_code_point(uint32_t code_point) {
    if (is_word_character(code_point)) {
        if (pending_joiner_ != 0) {
            append(pending_joiner_);
            pending_joiner_ = 0;
        }
        append(ignore_case_ ? to_lower(code_point) : code_point);
    } else if (is_joiner(code_point) && characters_ > 0 && pending_joiner_ == 0) {
        pending_joiner_ = code_point;
    } else {
        end_word();
    }
}

void Splitter::append(uint32_t c) {
    characters_++;
    if (c < 0x80) {
        word_ += static_cast<char>(c);
    } else if (c < 0x800) {
        word_ += static_cast<char>(0xc0 | c >> 6);
        word_ += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        word_ += static_cast<char>(0xe0 | c >> 12);
        word_ += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        word_ += static_cast<char>(0x80 | (c & 0x3f));
    } else {
        word_ += static_cast<char>(0xf0 | c >> 18);
        word_ += static_cast<char>(0x80 | (c >> 12 & 0x3f));
        word_ += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        word_ += static_cast<char>(0x80 | (c & 0x3f));
    }
}

void Splitter::end_word() {
    pending_joiner_ = 0;
    if (characters_ == 0)
        return;
    sink_(word_, characters_);
    word_.clear();
    characters_ = 0;
}

}  // namespace wordfreq
