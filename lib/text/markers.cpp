// markers.cpp: rewrites the types of pieces in a serialised sentencepiece model. Protocol buffers' wire format is
// simple enough to walk by hand, and sentencepiece does not install its message classes.
#include "tokenizer.hpp"

#include <cstdint>
#include <optional>

namespace
{

// Field numbers and values of sentencepiece_model.proto.
enum { MODEL_PIECES = 1, MODEL_SELF_TEST = 4, PIECE_NAME = 1, PIECE_TYPE = 3 };
enum { TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4 };
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct Field {
    uint64_t number = 0;
    uint64_t value = 0; // of a varint
    size_t begin = 0;   // of the whole field
    size_t content = 0; // of what follows its key (and, for bytes, its length)
    size_t end = 0;
};

std::optional<uint64_t> read_varint(const std::string &bytes, size_t &at, size_t end)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && at < end; shift += 7) {
        uint8_t byte = static_cast<uint8_t>(bytes[at++]);
        value |= static_cast<uint64_t>(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return value;
    }
    return std::nullopt;
}

// The field at `at`, inside a message that ends at `end`.
std::optional<Field> read_field(const std::string &bytes, size_t at, size_t end)
{
    Field field;
    field.begin = at;
    std::optional<uint64_t> key = read_varint(bytes, at, end);
    if (!key) return std::nullopt;
    field.number = *key >> 3;
    field.content = at;
    uint64_t size = 0;
    switch (*key & 7) {
    case WIRE_VARINT: {
        std::optional<uint64_t> value = read_varint(bytes, at, end);
        if (!value) return std::nullopt;
        field.value = *value;
        break;
    }
    case WIRE_BYTES: {
        std::optional<uint64_t> length = read_varint(bytes, at, end);
        if (!length) return std::nullopt;
        field.content = at;
        size = *length;
        break;
    }
    case WIRE_64: size = 8; break;
    case WIRE_32: size = 4; break;
    default: return std::nullopt;
    }
    if (size > end - at) return std::nullopt;
    field.end = at + static_cast<size_t>(size);
    return field;
}

bool looks_like_marker(const std::string &name)
{
    if (name.size() < 3) return false;
    return (name.front() == '<' && name.back() == '>') || (name.front() == '[' && name.back() == ']');
}

// Rewrites the type of one piece, a message in [begin, end), where it is a user-defined marker.
bool seal_piece(std::string &bytes, size_t begin, size_t end)
{
    std::string name;
    size_t type = 0;
    for (size_t at = begin; at < end;) {
        std::optional<Field> field = read_field(bytes, at, end);
        if (!field) return false;
        if (field->number == PIECE_NAME) name = bytes.substr(field->content, field->end - field->content);
        if (field->number == PIECE_TYPE) type = field->value == TYPE_USER_DEFINED ? field->content : 0;
        at = field->end;
    }
    // Both values fit the low seven bits of the varint's first byte.
    if (type && looks_like_marker(name))
        bytes[type] = static_cast<char>(bytes[type] - TYPE_USER_DEFINED + TYPE_CONTROL);
    return true;
}

} // namespace

std::string retnet_text::seal_markers(const std::string &model)
{
    std::string sealed;
    sealed.reserve(model.size());
    for (size_t at = 0; at < model.size();) {
        std::optional<Field> field = read_field(model, at, model.size());
        if (!field) return model;
        at = field->end;
        // Self-tests may hold markers in their samples, which would no longer pass.
        if (field->number == MODEL_SELF_TEST) continue;
        size_t content = sealed.size() + (field->content - field->begin);
        sealed.append(model, field->begin, field->end - field->begin);
        if (field->number == MODEL_PIECES && !seal_piece(sealed, content, sealed.size())) return model;
    }
    return sealed;
}
