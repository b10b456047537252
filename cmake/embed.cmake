# embed_text(SYMBOL FILE OUTPUT): OUTPUT becomes a C++ source that defines cl::SYMBOL, the text of FILE.
# A string literal may have 64 KiB at least; scripts are far smaller.
function(embed_text symbol file output)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  file(READ ${file} text)
  file(CONFIGURE OUTPUT ${output} @ONLY CONTENT
"#include <string_view>\n\nnamespace cl {\nextern const std::string_view @symbol@;\nconst std::string_view @symbol@ = R\"embedded(@text@)embedded\";\n}  // namespace cl\n")
endfunction()
