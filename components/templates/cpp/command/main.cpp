// Reads /in/file, writes /out/rows: the rows without an empty cell.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

// The library for WASI has no <fstream>.
struct Close {
    void operator()(std::FILE *file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

static bool blank(const std::string &cell) {
    return std::all_of(cell.begin(), cell.end(), [](unsigned char letter) { return std::isspace(letter); });
}

// Whether a row has an empty cell.
static bool incomplete(const std::string &row) {
    std::istringstream cells(row + ",");
    for (std::string cell; std::getline(cells, cell, ',');) {
        if (blank(cell)) return true;
    }
    return false;
}

static std::string read(std::FILE *file) {
    std::string text;
    char piece[4096];
    for (std::size_t count; (count = std::fread(piece, 1, sizeof piece, file)) > 0;) text.append(piece, count);
    return text;
}

int main() {
    File in(std::fopen("/in/file", "r")), out(std::fopen("/out/rows", "w"));
    if (!in || !out) {
        std::cerr << (in ? "/out/rows" : "/in/file") << " cannot be opened\n";
        return 1;
    }
    std::istringstream rows(read(in.get()));
    std::string kept;
    std::size_t dropped = 0;
    for (std::string row; std::getline(rows, row);) {
        if (incomplete(row)) {
            dropped++;
        } else {
            kept += row + "\n";
        }
    }
    bool written = std::fwrite(kept.data(), 1, kept.size(), out.get()) == kept.size();
    if (std::ferror(in.get()) || !written || std::fflush(out.get()) != 0) {
        std::cerr << "the rows cannot be written\n";
        return 1;
    }
    std::cout << dropped << " rows dropped\n";
}
