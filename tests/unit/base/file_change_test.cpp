#include "src/base/file_change.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/support/memory.hpp"

namespace cl::test {
namespace {

using Kind = FileChange::Kind;

std::string text(const std::vector<FileChange>& changes) {
  std::string all;
  for (const FileChange& one : changes) {
    all += static_cast<char>(one.kind);
    if (one.directory) all += '/';
    if (one.content) all += '+';
    all += one.from.empty() ? " " + one.path : " " + one.from + ">" + one.path;
    all += ';';
  }
  return all;
}

std::string merged(std::vector<FileChange> changes) {
  ChangeList list;
  for (FileChange& one : changes) list.add(std::move(one));
  const std::size_t size = list.size();
  std::vector<FileChange> taken = list.take(1000);
  EXPECT_EQ(taken.size(), size);
  EXPECT_TRUE(list.empty());
  return text(taken);
}

TEST(ChangeList, WritesOfOneFileAreOneChange) {
  EXPECT_EQ(merged({{Kind::modified, "/x"}, {Kind::attributes, "/x"}, {Kind::modified, "/y"}, {Kind::modified, "/x"}}),
            "m /x;m /y;");
  EXPECT_EQ(merged({{Kind::attributes, "/x"}, {Kind::modified, "/x"}}), "m /x;");
}

TEST(ChangeList, ANewFileIsCreatedWithItsContent) {
  EXPECT_EQ(merged({{Kind::created, "/x"}, {Kind::modified, "/x"}, {Kind::attributes, "/x"}}), "c+ /x;");
}

TEST(ChangeList, ARemovalIsToldAlsoOfWhatWasJustThere) {
  EXPECT_EQ(merged({{Kind::created, "/x"}, {Kind::modified, "/x"}, {Kind::removed, "/x"}}), "d /x;");
  EXPECT_EQ(merged({{Kind::modified, "/x"}, {Kind::removed, "/x"}, {Kind::removed, "/x"}}), "d /x;");
}

TEST(ChangeList, AFileInPlaceOfARemovedOneIsTwoChanges) {
  EXPECT_EQ(merged({{Kind::removed, "/x"}, {Kind::created, "/x"}, {Kind::modified, "/x"}}), "d /x;c+ /x;");
  EXPECT_EQ(merged({{Kind::removed, "/x"}, {Kind::created, "/x"}, {Kind::removed, "/x"}}), "d /x;d /x;");
}

TEST(ChangeList, TheStepsOfAnEditorStayInOrder) {
  EXPECT_EQ(merged({{Kind::created, "/x.new"},
                    {Kind::modified, "/x.new"},
                    {Kind::moved, "/x", "/x.new"},
                    {Kind::attributes, "/x"},
                    {Kind::modified, "/x"}}),
            "c+ /x.new;r+ /x.new>/x;");
}

TEST(ChangeList, NothingMergesAcrossAMoveOfAFolder) {
  EXPECT_EQ(merged({{Kind::modified, "/a/x"}, {Kind::moved, "/b", "/a", true}, {Kind::modified, "/a/x"}}),
            "m /a/x;r/ /a>/b;m /a/x;");
  EXPECT_EQ(merged({{Kind::created, "/a/x"}, {Kind::removed, "/a", {}, true}, {Kind::created, "/a/x"}}),
            "c /a/x;d/ /a;c /a/x;");
}

TEST(ChangeList, WhatIsTakenIsNoLongerMergedInto) {
  ChangeList list;
  list.add({Kind::modified, "/x"});
  list.add({Kind::modified, "/y"});
  EXPECT_EQ(text(list.take(1)), "m /x;");
  list.add({Kind::modified, "/x"});
  list.add({Kind::modified, "/y"});
  EXPECT_EQ(text(list.take(10)), "m /y;m /x;");
  list.add({Kind::modified, "/x"});
  EXPECT_EQ(text(list.take(10)), "m /x;");
}

TEST(ChangeList, CostsWhatWaitsAndNotWhatWasTold) {
  ChangeList list;
  std::size_t number = 0;
  auto add = [&list, &number](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      list.add({Kind::modified, "/home/somebody/project/source/file" + std::to_string(number++)});
  };
  add(1'000);
  const std::size_t before = heap_bytes();
  for (int round = 0; round < 400; ++round) {
    add(512);
    list.take(512);
  }
  EXPECT_EQ(list.size(), 1'000);
  const std::size_t after = heap_bytes();
  EXPECT_LT(after - std::min(before, after), std::size_t{1} << 20);
}

/// What names there are after the changes, starting with `names`.
std::set<std::string> replay(std::set<std::string> names, const std::vector<FileChange>& changes) {
  for (const FileChange& one : changes) {
    if (one.kind == Kind::removed) names.erase(one.path);
    if (one.kind == Kind::created) names.insert(one.path);
    if (one.kind == Kind::moved && names.erase(one.from) > 0) names.insert(one.path);
  }
  return names;
}

TEST(ChangeList, LeadsToTheSameEndHoweverItIsTaken) {
  unsigned seed = 1;
  auto next = [&seed](unsigned below) { return (seed = seed * 1103515245 + 12345) / 65536 % below; };
  for (int round = 0; round < 500; ++round) {
    std::set<std::string> names, all_names;
    std::vector<FileChange> all, taken;
    ChangeList list;
    for (int i = 0; i < 40; ++i) {
      const std::string name = "/" + std::string(1, static_cast<char>('a' + next(5)));
      const std::string other = "/" + std::string(1, static_cast<char>('a' + next(5)));
      FileChange change{Kind::modified, name};
      const bool there = all_names.contains(name);
      if (next(3) == 0) change.kind = there ? Kind::removed : Kind::created;
      if (next(4) == 0 && there && name != other) change = {Kind::moved, other, name};
      if (change.kind == Kind::modified && !there) continue;
      all_names = replay(all_names, {change});
      list.add(change);
      if (next(6) != 0) continue;
      for (FileChange& one : list.take(next(4))) taken.push_back(std::move(one));
    }
    for (FileChange& one : list.take(1000)) taken.push_back(std::move(one));
    ASSERT_EQ(replay(names, taken), all_names) << "round " << round << ": " << text(taken);
  }
}

}  // namespace
}  // namespace cl::test
