#include "src/base/file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "src/base/cut_file.hpp"
#include "src/base/error.hpp"
#include "tests/support/temp_dir.hpp"

namespace cl {
namespace {

using test::TempDir;

unsigned mode_of(const fs::path& path) {
  struct stat facts{};
  EXPECT_EQ(::stat(path.c_str(), &facts), 0) << path;
  return facts.st_mode & 07777;
}

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
  return names;
}

void put(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

template <class F>
Errc code_of(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return Errc::internal;
}

TEST(ReadFile, TellsAMissingFileFromAnUnreadableOne) {
  TempDir dir;
  EXPECT_EQ(code_of([&] { read_file(dir / "none"); }), Errc::not_found);
  EXPECT_EQ(read_file_if_exists(dir / "none"), std::nullopt);
  EXPECT_EQ(code_of([&] { read_file(dir.path()); }), Errc::io);
  put(dir / "file", "x");
  EXPECT_EQ(read_file_if_exists(dir / "file/below"), std::nullopt);
}

TEST(ReadFile, ReturnsEveryByte) {
  TempDir dir;
  std::string bytes(200'000, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
  put(dir / "file", bytes);
  EXPECT_EQ(read_file(dir / "file"), bytes);
}

TEST(WriteAtomically, ReplacesTheFileAndLeavesNothingElse) {
  TempDir dir;
  write_atomically(dir / "state", "old");
  write_atomically(dir / "state", "new");
  EXPECT_EQ(read_file(dir / "state"), "new");
  EXPECT_EQ(names_in(dir.path()), std::set<std::string>{"state"});
}

TEST(WriteAtomically, GivesAReaderTheOldOrTheNewBytes) {
  TempDir dir;
  write_atomically(dir / "state", "old");
  std::ifstream reader(dir / "state");
  write_atomically(dir / "state", "new");
  std::string seen;
  reader >> seen;
  EXPECT_EQ(seen, "old");  // the open file is still the old one: it was replaced, not rewritten
}

TEST(WriteAtomically, SetsTheModeWhateverTheUmask) {
  TempDir dir;
  const mode_t before = ::umask(0);
  write_atomically(dir / "secret", "x");
  ::umask(0777);
  write_atomically(dir / "script", "x", 0755);
  ::umask(before);
  EXPECT_EQ(mode_of(dir / "secret"), 0600u);
  EXPECT_EQ(mode_of(dir / "script"), 0755u);
}

TEST(WriteAtomically, KeepsTheOldFileAndNoTemporaryWhenItFails) {
  TempDir dir;
  fs::create_directory(dir / "taken");
  put(dir / "taken/file", "x");
  EXPECT_EQ(code_of([&] { write_atomically(dir / "taken", "new"); }), Errc::io);  // a directory cannot be replaced
  EXPECT_EQ(names_in(dir.path()), std::set<std::string>{"taken"});
  EXPECT_EQ(code_of([&] { write_atomically(dir / "none/file", "new"); }), Errc::io);
}

TEST(WriteAtomically, TakesABareFileName) {
  TempDir dir;
  const fs::path before = fs::current_path();
  fs::current_path(dir.path());
  EXPECT_NO_THROW(write_atomically("state", "new"));
  fs::current_path(before);
  EXPECT_EQ(read_file(dir / "state"), "new");
}

/// The text of the Error that `act` throws; anything else that it throws fails the test.
template <class Act>
std::string error_of(Act act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::io);
    return one_line(error);
  }
  return "nothing was thrown";
}

TEST(Files, ThrowOurErrorWithThePathAndTheReason) {
  const TempDir dir;
  const fs::path loop = dir / "loop", full = dir / "full", file = dir / "file", none = dir / "none";
  fs::create_symlink(loop, loop);
  fs::create_directories(full / "inside");
  std::ofstream(file) << "text";
  const std::string loops = loop.string() + ": Too many levels of symbolic links";
  EXPECT_EQ(error_of([&] { file_exists(loop); }), "cannot look at " + loops);
  EXPECT_EQ(error_of([&] { is_folder(loop); }), "cannot look at " + loops);
  EXPECT_EQ(error_of([&] { is_plain_file(loop); }), "cannot look at " + loops);
  EXPECT_EQ(error_of([&] { is_link(loop / "x"); }),
            "cannot look at " + (loop / "x").string() + ": Too many levels of symbolic links");
  EXPECT_EQ(error_of([&] { real_path(loop); }), "cannot look at " + loops);
  EXPECT_EQ(error_of([&] { file_bytes(none); }), "cannot look at " + none.string() + ": No such file or directory");
  EXPECT_EQ(error_of([&] { remove_file(full); }), "cannot remove " + full.string() + ": Directory not empty");
  EXPECT_EQ(error_of([&] { remove_tree(loop / "x"); }),
            "cannot remove " + (loop / "x").string() + ": Too many levels of symbolic links");
  EXPECT_EQ(error_of([&] { list_folder(file); }), "cannot list " + file.string() + ": Not a directory");
  EXPECT_EQ(error_of([&] { rename_file(none, file); }),
            "cannot move " + none.string() + " to " + file.string() + ": No such file or directory");
}

TEST(Files, KnowNothingThere) {
  const TempDir dir;
  EXPECT_FALSE(file_exists(dir / "none"));
  EXPECT_FALSE(is_link(dir / "none"));
  EXPECT_FALSE(remove_file(dir / "none"));
  EXPECT_TRUE(list_folder(dir / "none").empty());
  EXPECT_NO_THROW(remove_tree(dir / "none"));
  EXPECT_EQ(real_path(dir / "none" / ".." / "other"), fs::canonical(dir.path()) / "other");
}

TEST(Files, SayWhereToMakeRoom) {
  const Error full = file_error("write", "/home/me/state.json", ENOSPC);
  EXPECT_STREQ(full.what(), "cannot write /home/me/state.json");
  EXPECT_EQ(full.cause(), "No space left on device");
  EXPECT_EQ(full.remedy(), "make room on the file system of /home/me");
  EXPECT_EQ(file_error("write", "state.json", EDQUOT).remedy(), "make room on the file system of state.json");
  EXPECT_EQ(file_error("write", "/home/me/state.json", EACCES).remedy(), "");
}

TEST(MakePrivateDirectory, CreatesParentsClosedToOthers) {
  TempDir dir;
  make_private_directory(dir / "a/b/c");
  for (const char* name : {"a", "a/b", "a/b/c"}) EXPECT_EQ(mode_of(dir / name), 0700u) << name;
  EXPECT_NO_THROW(make_private_directory(dir / "a/b/c/"));
}

TEST(MakePrivateDirectory, TightensALooseModeOfOurs) {
  TempDir dir;
  fs::create_directory(dir / "loose");
  fs::permissions(dir / "loose", fs::perms::all);
  make_private_directory(dir / "loose");
  EXPECT_EQ(mode_of(dir / "loose"), 0700u);
}

TEST(MakePrivateDirectory, RefusesAFileInItsPlace) {
  TempDir dir;
  put(dir / "file", "precious");
  EXPECT_EQ(code_of([&] { make_private_directory(dir / "file"); }), Errc::io);
  EXPECT_EQ(code_of([&] { make_private_directory(dir / "file/below"); }), Errc::io);
  EXPECT_EQ(read_file(dir / "file"), "precious");
}

/// Runs `action` in a child process as an ordinary user; the code it returns is the child's exit code.
template <class F>
int as_nobody(F&& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(99);
    int code = 98;
    try {
      code = action();
    } catch (const std::exception&) {
      code = 97;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(MakePrivateDirectory, RefusesADirectoryOfSomebodyElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a directory of somebody else";
  TempDir dir;
  fs::permissions(dir.path(), fs::perms::all);
  fs::create_directory(dir / "roots");
  EXPECT_EQ(as_nobody([&] { return code_of([&] { make_private_directory(dir / "roots"); }) == Errc::io ? 7 : 8; }), 7);
}

TEST(MakePrivateDirectory, RefusesWhatSomebodyElseCanPutInItsPlace) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a directory of somebody else";
  TempDir dir;
  fs::permissions(dir.path(), fs::perms::all);
  fs::create_directories(dir / "theirs/ours");
  ASSERT_EQ(::chown((dir / "theirs").c_str(), 65534, 65534), 0);
  EXPECT_EQ(code_of([&] { make_private_directory(dir / "theirs/ours"); }), Errc::io) << "it is below theirs";
  fs::create_directory(dir / "ours");
  fs::create_directory_symlink(dir / "ours", dir / "link");
  EXPECT_NO_THROW(make_private_directory(dir / "link")) << "on another disk, say";
  ASSERT_EQ(::lchown((dir / "link").c_str(), 65534, 65534), 0);
  EXPECT_EQ(code_of([&] { make_private_directory(dir / "link"); }), Errc::io) << "they can lead it elsewhere";
}

TEST(MakePrivateDirectory, SaysSoWhenItMayNotLookInside) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a directory of somebody else";
  TempDir dir;  // 0700, root's
  EXPECT_EQ(as_nobody([&] { return code_of([&] { make_private_directory(dir / "a/b/c"); }) == Errc::io ? 7 : 8; }), 7);
}

TEST(LastLines, ReturnsTheLastOnes) {
  EXPECT_EQ(last_lines("a\nb\nc\n", 2), "b\nc");
  EXPECT_EQ(last_lines("a\nb\nc", 2), "b\nc");
  EXPECT_EQ(last_lines("a\nb", 9), "a\nb");
  EXPECT_EQ(last_lines("a\n\n\n", 1), "a");
  EXPECT_EQ(last_lines("", 3), "");
  EXPECT_EQ(last_lines("\n", 3), "");
}

TEST(LastLines, ReturnsNothingForZeroLines) { EXPECT_EQ(last_lines("a\nb", 0), ""); }

TEST(LastLines, RemovesTerminalSequences) {
  EXPECT_EQ(last_lines("[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mssh\x1b[0m\r\n", 5), "[  OK  ] Started ssh");
  EXPECT_EQ(last_lines("\x1b[2J\x1b[1;1Hboot\x1b(B", 5), "boot");
  EXPECT_EQ(last_lines("\x1b]0;a title\x07text", 5), "text");
  EXPECT_EQ(last_lines("\x1b]3008;start=1\x1b\\text", 5), "text");
  EXPECT_EQ(last_lines("bell\x07 del\x7f tab\t null" + std::string(1, '\0') + ".", 5), "bell del tab\t null.");
}

TEST(LastLines, KeepsTextInOtherScripts) { EXPECT_EQ(last_lines("gr\xc3\xbc\xc3\x9f\n", 1), "gr\xc3\xbc\xc3\x9f"); }

TEST(LastLines, SurvivesASequenceThatIsCutOff) {
  for (const char* text : {"x\x1b", "x\x1b[", "x\x1b[0;3", "x\x1b]0;t", "x\x1b]0;t\x1b"})
    EXPECT_EQ(last_lines(text, 1), "x") << testing::PrintToString(text);
}

TEST(TailLines, ReadsOnlyTheEndOfALargeFile) {
  TempDir dir;
  std::string text;
  while (text.size() < 300'000) text += "line " + std::to_string(text.size()) + "\n";
  put(dir / "log", text + "last but one\nlast\n");
  EXPECT_EQ(tail_lines(dir / "log", 2), "last but one\nlast");
  EXPECT_LE(tail_lines(dir / "log", 1'000'000).size(), 64u * 1024);
  EXPECT_EQ(tail_lines(dir / "none", 5), "");
}

TEST(CutFile, KeepsTheLastPartOfWhatAnotherProgramAppendsTo) {
  const TempDir dir;
  const fs::path file = dir / "log";
  EXPECT_FALSE(cut_appended_file(file, 64 * 1024)) << "it is not there";
  std::ofstream writer(file, std::ios::binary | std::ios::app);
  writer << std::string(50'000, 'a') << std::flush;
  EXPECT_FALSE(cut_appended_file(file, 64 * 1024));
  writer << std::string(49'000, 'b') << "the end" << std::flush;
  EXPECT_TRUE(cut_appended_file(file, 64 * 1024));
  EXPECT_EQ(fs::file_size(file), 0U);
  const std::string kept = read_file(older_part(file));
  EXPECT_EQ(kept.size(), 32U * 1024);
  EXPECT_TRUE(kept.ends_with("bbthe end"));
  writer << "goes on" << std::flush;
  EXPECT_EQ(read_file(file), "goes on");
}

TEST(FreeSpace, IsThatOfTheFileSystemAndFailsForNothing) {
  TempDir dir;
  EXPECT_GT(free_space(dir.path()), 0u);
  EXPECT_EQ(code_of([&] { free_space(dir / "none"); }), Errc::io);
}

TEST(AllocatedBytes, CountsBlocksNotTheHoles) {
  TempDir dir;
  put(dir / "sparse", "x");
  fs::resize_file(dir / "sparse", 64 << 20);
  EXPECT_LT(allocated_bytes(dir / "sparse"), 1u << 20);
  EXPECT_EQ(allocated_bytes(dir / "none"), 0u);
}

TEST(TemporaryDirectory, IsPrivateAndGoesWithItsContents) {
  TempDir dir;
  fs::path path;
  {
    const TemporaryDirectory temporary(dir.path(), "build-");
    path = temporary.path();
    EXPECT_EQ(mode_of(path), 0700u);
    EXPECT_EQ(path.filename().string().rfind("build-", 0), 0u);
    fs::create_directories(path / "a/b");
    put(path / "a/b/file", "x");
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_THROW(TemporaryDirectory(dir / "none"), Error);
}

}  // namespace
}  // namespace cl
