// tokenizer.hpp: what the files of retnet_text share. No exception leaves this library.
#ifndef RETNET_TEXT_TOKENIZER_HPP
#define RETNET_TEXT_TOKENIZER_HPP

#include "retnet/text.h"

#include <sentencepiece_processor.h>

#include <string>
#include <utility>
#include <vector>

struct retnet_tokenizer {
    sentencepiece::SentencePieceProcessor pieces;
    std::vector<std::pair<std::string, int>> markers; // control pieces and their ids, longest first
};

namespace retnet_text
{

// Turns the user-defined pieces that look like markers ("<|user|>", "[INST]") of a serialised sentencepiece model into
// control pieces. Sentencepiece finds a user-defined piece in any text, where a user could forge a turn with it; a
// control piece it never finds and never prints. Content that is not well-formed is passed on for sentencepiece to
// refuse.
std::string seal_markers(const std::string &model);

} // namespace retnet_text

#endif
