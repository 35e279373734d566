// Which characters make words, and which of them are the same letter.

#pragma once

#include <cstdint>

namespace wordfreq {

// True for letters, digits and the marks that combine with letters, in the
// scripts of the Basic Multilingual Plane. Not the full Unicode table (which is
// larger than this program): what is left out is punctuation, symbols, spaces
// and emoji, by block.
bool is_word_character(uint32_t code_point);

// True for characters that join two halves of a word ("don't", "l’eau") but do
// not make a word by themselves.
bool is_joiner(uint32_t code_point);

// The small letter for a capital one, for Latin, Greek, Cyrillic and Armenian;
// anything else is its own.
uint32_t to_lower(uint32_t code_point);

}  // namespace wordfreq
