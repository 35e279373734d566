#include "letters.hpp"

#include <algorithm>
#include <iterator>

namespace wordfreq {
namespace {

struct Range {
    uint32_t first, last;
};

// Code points from U+00C0 on that are not part of words, in order (Unicode 15,
// by block where a whole block is out).
constexpr Range not_words[] = {
    {0x00d7, 0x00d7},      // multiplication sign
    {0x00f7, 0x00f7},      // division sign
    {0x02c2, 0x02c5},      // modifier symbols
    {0x037e, 0x037e},      // Greek question mark
    {0x0387, 0x0387},      // Greek ano teleia
    {0x055a, 0x055f},      // Armenian punctuation
    {0x0589, 0x058f},      // Armenian full stop to currency
    {0x05be, 0x05be},      // Hebrew maqaf
    {0x0600, 0x060f},      // Arabic signs and comma
    {0x061b, 0x061f},      // Arabic semicolon and question mark
    {0x066a, 0x066d},      // Arabic percent to star
    {0x06d4, 0x06d4},      // Arabic full stop
    {0x0964, 0x0965},      // Devanagari danda
    {0x2000, 0x206f},      // general punctuation
    {0x20a0, 0x20cf},      // currency
    {0x2190, 0x2bff},      // arrows, mathematics, boxes, symbols
    {0x2e00, 0x2e7f},      // supplemental punctuation
    {0x3000, 0x3004},      // ideographic space, comma, full stop
    {0x3008, 0x3020},      // brackets
    {0x3030, 0x3030},      // wavy dash
    {0xe000, 0xf8ff},      // private use
    {0xfe10, 0xfe1f},      // vertical forms
    {0xfe30, 0xfe6f},      // compatibility and small forms
    {0xfeff, 0xfeff},      // byte order mark
    {0xff01, 0xff0f},      // full-width punctuation
    {0xff1a, 0xff20},
    {0xff3b, 0xff40},
    {0xff5b, 0xff65},
    {0xfff0, 0xffff},      // specials
    {0x1f000, 0x1faff},    // emoji and pictographs
    {0xe0000, 0x10ffff},   // tags, selectors, private use
};

bool is_even(uint32_t code_point) { return code_point % 2 == 0; }

}  // namespace

bool is_word_character(uint32_t c) {
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (c < 0xc0)
        return c == 0xaa || c == 0xb5 || c == 0xba;  // ª µ º
    auto range = std::lower_bound(std::begin(not_words), std::end(not_words), c,
                                  [](const Range &range, uint32_t c) { return range.last < c; });
    return range == std::end(not_words) || c < range->first;
}

bool is_joiner(uint32_t c) { return c == '\'' || c == 0x2019; }

uint32_t to_lower(uint32_t c) {
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    if (c >= 0xc0 && c <= 0xde && c != 0xd7)  // À to Þ
        return c + 32;
    // Latin Extended-A and -B, in pairs: capital first on an even number...
    if ((c >= 0x100 && c <= 0x137 && c != 0x130 && c != 0x131) || (c >= 0x14a && c <= 0x177) ||
        (c >= 0x1de && c <= 0x1ef) || (c >= 0x1f8 && c <= 0x21f) || (c >= 0x222 && c <= 0x233) ||
        (c >= 0x1e00 && c <= 0x1e95) || (c >= 0x1ea0 && c <= 0x1eff))
        return is_even(c) ? c + 1 : c;
    // ... or on an odd one.
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e) || (c >= 0x1cd && c <= 0x1dc))
        return is_even(c) ? c : c + 1;
    if (c == 0x178)  // Ÿ
        return 0xff;
    if (c == 0x1e9e)  // ẞ
        return 0xdf;
    // Greek: accented capitals are scattered, the others in a row.
    if (c == 0x386)
        return 0x3ac;
    if (c >= 0x388 && c <= 0x38a)
        return c + 37;
    if (c == 0x38c)
        return 0x3cc;
    if (c == 0x38e || c == 0x38f)
        return c + 63;
    if (c >= 0x391 && c <= 0x3ab && c != 0x3a2)
        return c + 32;
    // Cyrillic: Ѐ to Џ, А to Я, then pairs.
    if (c >= 0x400 && c <= 0x40f)
        return c + 80;
    if (c >= 0x410 && c <= 0x42f)
        return c + 32;
    if ((c >= 0x460 && c <= 0x481) || (c >= 0x48a && c <= 0x4bf) || (c >= 0x4d0 && c <= 0x52f))
        return is_even(c) ? c + 1 : c;
    if (c >= 0x531 && c <= 0x556)  // Armenian
        return c + 48;
    return c;
}

}  // namespace wordfreq
