#include "provision/platforms.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "provision/guest.hpp"
#include "src/base/error.hpp"
#include "src/base/shell.hpp"

namespace cl {

extern const std::string_view platforms_shell;

namespace {

using namespace std::string_view_literals;

// Each of the programs: uname() into a buffer on the stack, whose fifth field (65 bytes each) is the machine's name;
// a newline over the NUL behind it; write() to descriptor 1; exit(0).
constexpr std::array table{
    // sub $512,%rsp; mov %rsp,%rdi; mov $63,%eax; syscall; lea 260(%rsp),%rsi; mov %rsi,%rdx
    // 1: cmpb $0,(%rdx); je 2f; inc %rdx; jmp 1b
    // 2: movb $10,(%rdx); inc %rdx; sub %rsi,%rdx; mov $1,%edi; mov $1,%eax; syscall; xor %edi,%edi; mov $60,%eax;
    // syscall
    Platform{"linux/amd64", "x86_64", 64, false, 62, 0,
             "\x48\x81\xec\x00\x02\x00\x00\x48\x89\xe7\xb8\x3f\x00\x00\x00\x0f\x05\x48\x8d\xb4\x24\x04\x01\x00\x00\x48"
             "\x89\xf2\x80\x3a\x00\x74\x05\x48\xff\xc2\xeb\xf6\xc6\x02\x0a\x48\xff\xc2\x48\x29\xf2\xbf\x01\x00\x00\x00"
             "\xb8\x01\x00\x00\x00\x0f\x05\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05"sv,
             ""},
    // The same with int $0x80: uname 122, write 4, exit 1.
    Platform{"linux/386", "i386", 32, false, 3, 0,
             "\x81\xec\x00\x02\x00\x00\x89\xe3\xb8\x7a\x00\x00\x00\xcd\x80\x8d\x8c\x24\x04\x01\x00\x00\x89\xca\x80\x3a"
             "\x00\x74\x03\x42\xeb\xf8\xc6\x02\x0a\x42\x29\xca\xbb\x01\x00\x00\x00\xb8\x04\x00\x00\x00\xcd\x80\x31\xdb"
             "\xb8\x01\x00\x00\x00\xcd\x80"sv,
             "x86_64"},
    // sub sp,sp,#512; mov x0,sp; mov x8,#160; svc #0; add x1,sp,#260; mov x2,x1
    // 1: ldrb w3,[x2]; cbz w3,2f; add x2,x2,#1; b 1b
    // 2: mov w3,#10; strb w3,[x2],#1; sub x2,x2,x1; mov x0,#1; mov x8,#64; svc #0; mov x0,#0; mov x8,#93; svc #0
    Platform{"linux/arm64", "aarch64", 64, false, 183, 0,
             "\xff\x03\x08\xd1\xe0\x03\x00\x91\x08\x14\x80\xd2\x01\x00\x00\xd4\xe1\x13\x04\x91\xe2\x03\x01\xaa\x43\x00"
             "\x40\x39\x63\x00\x00\x34\x42\x04\x00\x91\xfd\xff\xff\x17\x43\x01\x80\x52\x43\x14\x00\x38\x42\x00\x01\xcb"
             "\x20\x00\x80\xd2\x08\x08\x80\xd2\x01\x00\x00\xd4\x00\x00\x80\xd2\xa8\x0b\x80\xd2\x01\x00\x00\xd4"sv,
             ""},
    // The same in A32: uname 122, write 4, exit 1 in r7. The flags say EABI 5.
    Platform{"linux/arm/v7", "arm", 32, false, 40, 0x05000000,
             "\x02\xdc\x4d\xe2\x0d\x00\xa0\xe1\x7a\x70\xa0\xe3\x00\x00\x00\xef\x41\x1f\x8d\xe2\x01\x20\xa0\xe1\x00\x30"
             "\xd2\xe5\x00\x00\x53\xe3\x01\x00\x00\x0a\x01\x20\x82\xe2\xfa\xff\xff\xea\x0a\x30\xa0\xe3\x01\x30\xc2\xe4"
             "\x01\x20\x42\xe0\x01\x00\xa0\xe3\x04\x70\xa0\xe3\x00\x00\x00\xef\x00\x00\xa0\xe3\x01\x70\xa0\xe3\x00\x00"
             "\x00\xef"sv,
             "aarch64"},
    // Without compressed instructions: uname 160, write 64, exit 93 in a7.
    Platform{"linux/riscv64", "riscv64", 64, false, 243, 0,
             "\x13\x01\x01\xe0\x13\x05\x01\x00\x93\x08\x00\x0a\x73\x00\x00\x00\x93\x05\x41\x10\x13\x86\x05\x00\x83\x46"
             "\x06\x00\x63\x86\x06\x00\x13\x06\x16\x00\x6f\xf0\x5f\xff\x93\x06\xa0\x00\x23\x00\xd6\x00\x13\x06\x16\x00"
             "\x33\x06\xb6\x40\x13\x05\x10\x00\x93\x08\x00\x04\x73\x00\x00\x00\x13\x05\x00\x00\x93\x08\xd0\x05\x73\x00"
             "\x00\x00"sv,
             ""},
    // uname 122, write 4, exit 1 in r0; the flags say ELFv2.
    Platform{"linux/ppc64le", "ppc64le", 64, false, 21, 2,
             "\x00\xfe\x21\x38\x20\x00\x61\x38\x7a\x00\x00\x38\x02\x00\x00\x44\x24\x01\x81\x38\x78\x23\x85\x7c\x00\x00"
             "\xc5\x88\x00\x00\x06\x2c\x0c\x00\x82\x41\x01\x00\xa5\x38\xf0\xff\xff\x4b\x0a\x00\xc0\x38\x00\x00\xc5\x98"
             "\x01\x00\xa5\x38\x50\x28\xa4\x7c\x01\x00\x60\x38\x04\x00\x00\x38\x02\x00\x00\x44\x00\x00\x60\x38\x01\x00"
             "\x00\x38\x02\x00\x00\x44"sv,
             ""},
    // uname 122, write 4, exit 1 in r1; the ABI keeps 160 bytes below the buffer.
    Platform{"linux/s390x", "s390x", 64, true, 22, 0,
             "\xa7\xfb\xfe\x00\x41\x20\xf0\xa0\xa7\x19\x00\x7a\x0a\x00\x41\x30\xf1\xa4\xb9\x04\x00\x43\x95\x00\x40\x00"
             "\xa7\x84\x00\x06\xa7\x4b\x00\x01\xa7\xf4\xff\xfa\x92\x0a\x40\x00\xa7\x4b\x00\x01\xb9\x09\x00\x43\xa7\x29"
             "\x00\x01\xa7\x19\x00\x04\x0a\x00\xa7\x29\x00\x00\xa7\x19\x00\x01\x0a\x00"sv,
             ""},
};

/// Numbers in a platform's byte order.
class Bytes {
 public:
  explicit Bytes(bool big_endian) : big_endian_(big_endian) {}
  void number(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) text_ += static_cast<char>(value >> (8 * (big_endian_ ? size - 1 - i : i)));
  }
  void text(std::string_view more) { text_ += more; }
  std::string take() { return std::move(text_); }

 private:
  bool big_endian_;
  std::string text_;
};

/// The first 16 bytes of an ELF file.
std::string identity(const Platform& platform) {
  std::string text =
      "\x7f"
      "ELF";
  text += platform.bits == 64 ? '\2' : '\1';
  text += platform.big_endian ? '\2' : '\1';
  text += '\1';
  text.append(9, '\0');
  return text;
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("\\x{:02x}", byte);
  return text;
}

/// As a format of printf, which every shell has built in: what is no letter or digit as \ooo.
std::string printf_format(std::string_view bytes) {
  std::string text;
  for (const unsigned char byte : bytes)
    text += std::isalpha(byte) != 0 ? std::string(1, static_cast<char>(byte)) : fmt::format("\\{:03o}", byte);
  return text;
}

}  // namespace

std::span<const Platform> platforms() { return table; }

const Platform& platform_of(std::string_view arch) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const Platform& row) { return row.arch == arch; });
  if (found == table.end()) throw Error(Errc::internal, "there is no platform of architecture " + std::string(arch));
  return *found;
}

std::string tiny_program(const Platform& platform) {
  constexpr std::uint64_t address = 0x400000;  // a multiple of every page size there is
  const bool wide = platform.bits == 64;
  const int word = wide ? 8 : 4;
  const std::uint16_t header_size = wide ? 64 : 52, segment_size = wide ? 56 : 32;
  const std::uint64_t start = header_size + segment_size;
  const std::uint64_t size = start + platform.code.size();
  constexpr std::uint32_t read_and_execute = 5;
  Bytes file(platform.big_endian);
  file.text(identity(platform));
  file.number(2, 2);  // ET_EXEC
  file.number(platform.machine, 2);
  file.number(1, 4);  // version
  file.number(address + start, word);
  file.number(header_size, word);  // where the segments' headers begin
  file.number(0, word);            // no sections
  file.number(platform.flags, 4);
  file.number(header_size, 2);
  file.number(segment_size, 2);
  file.number(1, 2);  // one segment
  file.number(0, 6);  // no sections
  file.number(1, 4);  // PT_LOAD
  if (wide) file.number(read_and_execute, 4);
  file.number(0, word);        // from the file's beginning
  file.number(address, word);  // to this address
  file.number(address, word);
  file.number(size, word);  // in the file, and in memory
  file.number(size, word);
  if (!wide) file.number(read_and_execute, 4);
  file.number(0x10000, word);
  file.text(platform.code);
  return file.take();
}

std::string binfmt_magic(const Platform& platform) {
  Bytes magic(platform.big_endian), mask(platform.big_endian);
  magic.text(identity(platform));
  magic.number(2, 2);
  magic.number(platform.machine, 2);
  mask.text("\xff\xff\xff\xff\xff\xff\xff");
  mask.text("\0"sv);  // whatever ABI of whichever system
  mask.text("\xff\xff\xff\xff\xff\xff\xff\xff");
  mask.number(0xfffe, 2);  // programs at a fixed address (2) or at any (3)
  mask.number(0xffff, 2);
  return hex(magic.take()) + ":" + hex(mask.take());
}

std::string binfmt_line(const Platform& platform, std::string_view name, std::string_view interpreter,
                        std::string_view flags) {
  return fmt::format(":{}:M::{}:{}:{}", name, binfmt_magic(platform), interpreter, flags);
}

std::string platforms_script(const PlatformPlan& plan) {
  std::string script = "machine=" + shell_quoted(plan.machine) + "\n";
  script += plan.rosetta ? "rosetta=yes\n" : "rosetta=\n";
  script += "rosetta_why_not=" + shell_quoted(plan.rosetta_why_not) + "\n";
  script += "each_platform() {\n";
  for (const Platform& row : table)
    script += fmt::format("  platform {} {} '{}' '{}' '{}'\n", row.name, row.arch, row.runs_on, binfmt_magic(row),
                          printf_format(tiny_program(row)));
  script += "}\n";
  script += platforms_shell;
  return script;
}

bool read_platform(std::string_view line, PlatformState& into) {
  constexpr std::string_view mark = "@platform ";
  if (!line.starts_with(mark)) return false;
  line.remove_prefix(mark.size());
  std::array<std::string, 3> words;
  for (std::string& word : words) {
    const auto end = std::min(line.find(' '), line.size());
    word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  if (words[0].empty() || words[1].empty() || (words[2] != "works" && words[2] != "fails")) return false;
  into = PlatformState{words[0], words[1], words[2] == "works", std::string(line)};
  return true;
}

}  // namespace cl
