// tokenizer.cpp: loading and encoding.
#include "tokenizer.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#ifdef _WIN32
#include <windows.h>
#endif

namespace
{

// No tokenizer comes near it; a device file or a wrong path may.
constexpr size_t LARGEST_FILE = size_t{256} << 20;

retnet_result report(char *message, size_t size, retnet_result result, const std::string &text)
{
    if (message && size) snprintf(message, size, "%s", text.c_str());
    return result;
}

// Paths are UTF-8.
FILE *open_file(const char *path)
{
#ifdef _WIN32
    std::wstring wide(4096, 0);
    int length = static_cast<int>(wide.size());
    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, &wide[0], length)) {
        errno = EINVAL;
        return nullptr;
    }
    return _wfopen(wide.c_str(), L"rb");
#else
    return fopen(path, "rb");
#endif
}

// True, or errno's reason in `error`.
bool read_file(const char *path, std::string &content, std::string &error)
{
    std::unique_ptr<FILE, int (*)(FILE *)> file(open_file(path), fclose);
    if (file) {
        char buffer[1 << 16];
        size_t size;
        while ((size = fread(buffer, 1, sizeof buffer, file.get())) > 0) {
            content.append(buffer, size);
            if (content.size() > LARGEST_FILE) {
                error = "too large for a tokenizer";
                return false;
            }
        }
        if (!ferror(file.get())) return true;
    }
    error = strerror(errno);
    return false;
}

retnet_result load(const char *path, char *message, size_t message_size, std::unique_ptr<retnet_tokenizer> &tokenizer)
{
    std::string content, error;
    if (!read_file(path, content, error))
        return report(message, message_size, RETNET_ERROR_FILE, std::string(path) + ": " + error);
    // An empty message is a valid one, on which sentencepiece would only complain later.
    if (content.empty()) return report(message, message_size, RETNET_ERROR_FORMAT, std::string(path) + ": empty file");
    tokenizer = std::make_unique<retnet_tokenizer>();
    sentencepiece::SentencePieceProcessor &pieces = tokenizer->pieces;
    if (!pieces.LoadFromSerializedProto(retnet_text::seal_markers(content)).ok())
        return report(message, message_size, RETNET_ERROR_FORMAT,
                      std::string(path) + ": not a sentencepiece model, or a damaged one");
    for (int id = 0; id < pieces.GetPieceSize(); id++)
        if (pieces.IsControl(id) && !pieces.IdToPiece(id).empty())
            tokenizer->markers.emplace_back(pieces.IdToPiece(id), id);
    std::stable_sort(tokenizer->markers.begin(), tokenizer->markers.end(),
                     [](const auto &a, const auto &b) { return a.first.size() > b.first.size(); });
    return RETNET_OK;
}

// Index into the markers of the longest one that `text` starts with, or -1.
int marker_at(const retnet_tokenizer &tokenizer, const char *text, size_t size)
{
    for (size_t i = 0; i < tokenizer.markers.size(); i++) {
        const std::string &name = tokenizer.markers[i].first;
        if (name.size() <= size && memcmp(text, name.data(), name.size()) == 0) return static_cast<int>(i);
    }
    return -1;
}

bool encode_plain(const retnet_tokenizer &tokenizer, const char *text, size_t size, std::vector<int> &ids)
{
    std::vector<int> some;
    if (size == 0) return true;
    if (!tokenizer.pieces.Encode({text, size}, &some).ok()) return false;
    ids.insert(ids.end(), some.begin(), some.end());
    return true;
}

// The stretches between markers are texts of their own.
bool encode_special(const retnet_tokenizer &tokenizer, const char *text, size_t size, std::vector<int> &ids)
{
    bool starts_marker[256] = {};
    for (const auto &marker : tokenizer.markers) starts_marker[static_cast<unsigned char>(marker.first[0])] = true;
    size_t begin = 0;
    for (size_t at = 0; at < size;) {
        int marker =
            starts_marker[static_cast<unsigned char>(text[at])] ? marker_at(tokenizer, text + at, size - at) : -1;
        if (marker < 0) {
            at++;
            continue;
        }
        if (!encode_plain(tokenizer, text + begin, at - begin, ids)) return false;
        ids.push_back(tokenizer.markers[static_cast<size_t>(marker)].second);
        begin = at += tokenizer.markers[static_cast<size_t>(marker)].first.size();
    }
    return encode_plain(tokenizer, text + begin, size - begin, ids);
}

} // namespace

retnet_result retnet_tokenizer_load(const char *path, char *message, size_t message_size, retnet_tokenizer **out)
{
    if (message && message_size) message[0] = 0;
    if (!out) return RETNET_ERROR_INVALID_ARGUMENT;
    *out = nullptr;
    if (!path) return RETNET_ERROR_INVALID_ARGUMENT;
    try {
        std::unique_ptr<retnet_tokenizer> tokenizer;
        retnet_result result = load(path, message, message_size, tokenizer);
        if (result == RETNET_OK) *out = tokenizer.release();
        return result;
    } catch (const std::bad_alloc &) {
        return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    } catch (...) {
        return RETNET_ERROR_FORMAT;
    }
}

void retnet_tokenizer_destroy(retnet_tokenizer *tokenizer)
{
    delete tokenizer;
}

uint32_t retnet_tokenizer_vocabulary_size(const retnet_tokenizer *tokenizer)
{
    return static_cast<uint32_t>(tokenizer->pieces.GetPieceSize());
}

int32_t retnet_tokenizer_piece_id(const retnet_tokenizer *tokenizer, const char *piece)
{
    // Sentencepiece answers with the unknown piece where there is none of that name.
    int id = tokenizer->pieces.PieceToId(piece);
    if (id < 0 || id >= tokenizer->pieces.GetPieceSize()) return -1;
    return tokenizer->pieces.IdToPiece(id) == piece ? id : -1;
}

int32_t retnet_tokenizer_bos(const retnet_tokenizer *tokenizer)
{
    return tokenizer->pieces.bos_id();
}
int32_t retnet_tokenizer_eos(const retnet_tokenizer *tokenizer)
{
    return tokenizer->pieces.eos_id();
}

retnet_result retnet_tokenizer_encode(const retnet_tokenizer *tokenizer, const char *text, size_t size,
                                      bool parse_special, int32_t *tokens, size_t capacity, size_t *count)
{
    if (count) *count = 0;
    if (!tokenizer || !count || (!text && size) || (!tokens && capacity)) return RETNET_ERROR_INVALID_ARGUMENT;
    try {
        std::vector<int> ids;
        auto encode = parse_special ? encode_special : encode_plain;
        if (!encode(*tokenizer, text, size, ids)) return RETNET_ERROR_INTERNAL;
        *count = ids.size();
        std::copy_n(ids.begin(), std::min(capacity, ids.size()), tokens);
        return ids.size() > capacity ? RETNET_ERROR_LIMIT : RETNET_OK;
    } catch (const std::bad_alloc &) {
        return RETNET_ERROR_OUT_OF_HOST_MEMORY;
    } catch (...) {
        return RETNET_ERROR_INTERNAL;
    }
}
