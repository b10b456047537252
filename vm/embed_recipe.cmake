# cmake -DFROM=vm/guest_image -DTO=recipe_data.cpp -DFUNCTION=built_in_recipe -P embed_recipe.cmake
# Writes a C++ file with every file of a folder as an array, and the function that makes a Recipe of them: no tar, no
# assembler, the same on every host.
file(GLOB_RECURSE paths LIST_DIRECTORIES false RELATIVE ${FROM} ${FROM}/*)
list(SORT paths)
list(REMOVE_ITEM paths README.md)

set(arrays "")
set(table "")
set(number 0)
foreach(path IN LISTS paths)
  if(IS_SYMLINK ${FROM}/${path})
    message(FATAL_ERROR "${FROM}/${path} is a symbolic link: make it in customize.sh instead")
  endif()
  file(SIZE ${FROM}/${path} size)
  file(READ ${FROM}/${path} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  # A zero more than the size: an array may not be empty.
  string(APPEND arrays "const unsigned char file_${number}[] = {${bytes}0};\n")
  string(APPEND table "      {\"${path}\", text(file_${number}, ${size})},\n")
  math(EXPR number "${number} + 1")
endforeach()

file(WRITE ${TO} "// Made from ${FROM} by vm/embed_recipe.cmake.
#include \"vm/image/recipe.hpp\"

namespace cl {
namespace {

${arrays}
std::string text(const unsigned char* bytes, std::size_t size) {
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

}  // namespace

Recipe ${FUNCTION}() {
  return Recipe({
${table}  });
}

}  // namespace cl
")
