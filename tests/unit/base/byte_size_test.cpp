#include "src/base/byte_size.hpp"

#include <gtest/gtest.h>

#include <string>

namespace cl {

// How GoogleTest shows a size in a failure.
void PrintTo(const ByteSize& size, std::ostream* out) { *out << size.count() << " bytes"; }

namespace {

TEST(ByteSize, ReadsEveryUnitInEverySpelling) {
  constexpr std::uint64_t one = 1;
  const struct {
    const char* letter;
    std::uint64_t bytes;
  } units[] = {{"K", one << 10}, {"M", one << 20}, {"G", one << 30}, {"T", one << 40}};
  for (const auto& [letter, bytes] : units) {
    const std::string l = letter;
    const std::string low(1, static_cast<char>(l[0] - 'A' + 'a'));
    for (const std::string& text :
         {"3" + l, "3" + low, "3" + l + "B", "3" + low + "b", "3" + l + "iB", "3" + low + "ib", "3 " + l + "iB"})
      EXPECT_EQ(ByteSize::parse(text), ByteSize::bytes(3 * bytes)) << text;
  }
}

TEST(ByteSize, ReadsABareNumberAsGibibytes) { EXPECT_EQ(ByteSize::parse("4"), ByteSize::gib(4)); }

TEST(ByteSize, ReadsBytesExactly) {
  EXPECT_EQ(ByteSize::parse("1048576B"), ByteSize::mib(1));
  EXPECT_EQ(ByteSize::parse("1B"), ByteSize::bytes(1));
  EXPECT_EQ(ByteSize::parse("0"), ByteSize::bytes(0));
}

TEST(ByteSize, ReadsFractions) {
  EXPECT_EQ(ByteSize::parse("1.5 GiB"), ByteSize::mib(1536));
  EXPECT_EQ(ByteSize::parse("0.5"), ByteSize::mib(512));
  EXPECT_EQ(ByteSize::parse(".25G"), ByteSize::mib(256));
}

TEST(ByteSize, RefusesNonsense) {
  for (const char* text : {"",    " ",   "GiB", "-1",    "+1",     "-1GiB", "1.2.3", ".",   "1,5G", "1e3", "0x10",
                           "inf", "nan", "4X",  "4GiBB", "4 G iB", "4G 5G", "G4",    "4iB", "four", "4\n", "4PiB"})
    EXPECT_EQ(ByteSize::parse(text), std::nullopt) << '"' << text << '"';
}

TEST(ByteSize, RefusesWhatDoesNotFit) {
  EXPECT_NE(ByteSize::parse("8000000TiB"), std::nullopt);
  EXPECT_EQ(ByteSize::parse("8388608TiB"), std::nullopt);  // 2^63
  EXPECT_EQ(ByteSize::parse("99999999999999999999B"), std::nullopt);
  EXPECT_EQ(ByteSize::parse("9999999999999999999999TiB"), std::nullopt);
  EXPECT_EQ(ByteSize::parse(std::string(400, '9')), std::nullopt);
}

TEST(ByteSize, PrintsTheShortestForm) {
  EXPECT_EQ(ByteSize::gib(2).str(), "2GiB");
  EXPECT_EQ(ByteSize::mib(1536).str(), "1.5GiB");
  EXPECT_EQ(ByteSize::mib(300).str(), "300MiB");
  EXPECT_EQ(ByteSize::gib(1024).str(), "1TiB");
  EXPECT_EQ(ByteSize::bytes(12).str(), "12B");
  EXPECT_EQ(ByteSize::bytes(2048).str(), "2KiB");
  EXPECT_EQ(ByteSize().str(), "0B");
}

TEST(ByteSize, ReadsWhatItPrints) {
  for (const auto size : {ByteSize::gib(60), ByteSize::mib(1536), ByteSize::bytes(12), ByteSize::mib(1)})
    EXPECT_EQ(ByteSize::parse(size.str()), size) << size.str();
}

TEST(ByteSize, ComparesByCountAndRoundsMebibytesDown) {
  EXPECT_LT(ByteSize::mib(1023), ByteSize::gib(1));
  EXPECT_EQ(ByteSize::bytes((3 << 20) - 1).whole_mib(), 2u);
}

}  // namespace
}  // namespace cl
