-- SPDX-License-Identifier: MIT
-- reference FOLDER VERSION: writes a page of reference for each header of include/, out of its
-- comments, as Markdown and for man. `reference lint` only looks whether every
-- function has a contract: a comment above it, or above the declarations that it stands with.
local lint = dofile("tools/lint.lua")

-- ---- reading a header ----

-- What stands inside a comment, without its marks and indentation.
local function text_of(comment)
   local text = comment:gsub("^/%*%s?", ""):gsub("%s*%*/%s*$", "")
   return (text:gsub("\n   ", "\n"))
end

-- Of no interest to readers.
local function is_frame(line)
   return line:find("^#ifndef FERN_") or line:find("^#define [%u_]+_H$") or line:find("^#endif")
      or line:find("^#ifdef __cplusplus") or line:find('^extern "C"') or line:find("^}$") or line:find("^#include")
      or line:find("^struct [%w_]+;$")
end

-- The top comment, the lines after it, and the number of the first of those.
local function split(text)
   local top, rest = text:match("^(/%*.-%*/)\n(.*)$")
   local _, lines = top:gsub("\n", "")
   return text_of(top):gsub("^SPDX[^\n]*\n", ""), rest, lines + 2
end

-- Comments and declarations, in the order of the file; a new block begins after an empty
-- line, and where a comment follows a declaration. Calls block(comment, code, line).
local function each_block(rest, first, block)
   local comment, code, depth, begun = {}, {}, 0, first
   local in_comment = false
   local function flush()
      if #comment + #code > 0 then
         block(text_of(table.concat(comment, "\n")), table.concat(code, "\n"), begun)
      end
      comment, code = {}, {}
   end
   local number = first - 1
   for line in rest:gmatch("([^\n]*)\n") do
      number = number + 1
      local starts = depth == 0 and not in_comment and line:find("^/%*")
      if starts and #code > 0 or line == "" and depth == 0 and not in_comment then flush() end
      if #comment + #code == 0 then begun = number end
      if starts or in_comment then
         comment[#comment + 1] = line
         in_comment = not line:find("%*/")
      elseif line ~= "" and not (depth == 0 and is_frame(line)) then
         code[#code + 1] = line
         local bare = line:gsub("/%*.-%*/", ""):gsub("/%*.*", "")
         depth = depth + select(2, bare:gsub("{", "")) - select(2, bare:gsub("}", ""))
      end
   end
   flush()
end

local function each_function(code, fn)
   for name in ("\n" .. code):gmatch("\nFERN_API [^;]-([%w_]+)%(") do fn(name) end
end

-- As a reader wants it: without what only the compiler does.
local function shown(code)
   local width = #"FERN_API "
   local plain = ("\n" .. code):gsub("\nFERN_API ([^;]-;)", function(declaration)
      return "\n" .. declaration:gsub("\n" .. (" "):rep(width), "\n")
   end)
   return plain:sub(2)
end

-- What a reader looks for by name, in the order of the declarations.
local function names_of(code)
   local found, list = {}, {}
   local function find(pattern)
      for at, name in ("\n" .. code):gmatch(pattern) do found[#found + 1] = { at = at, name = name } end
   end
   find("\n()FERN_API [^;]-([%w_]+)%(")
   find("\n()typedef %a+ ([%w_]+) {")
   find("\n()typedef [%w_ *]-([%w_]+)%(")
   find("\n()struct ([%w_]+) {")
   find("\n()#define ([%w_]+)")
   find("\n()static inline [^;{]-([%w_]+)%(")
   table.sort(found, function(a, b) return a.at < b.at end)
   for _, entry in ipairs(found) do list[#list + 1] = entry.name end
   return list
end

-- A header: name, about (its first sentence), intro, sections of blocks.
local function read(path)
   local file <close> = assert(io.open(path))
   local top, rest, first = split(file:read("a"))
   local header = { path = path, file = path:match("[^/]+$"), name = path:match("([%w_]+)%.h$"), sections = {} }
   header.about = top:gsub("\n", " "):match("^[%w_]+: (.-)[.;] ") or top:match("^[%w_]+: ([^\n.;]+)")
   header.intro = top:gsub("^[%w_]+: (%l)", string.upper):gsub("^[%w_]+: ", "")
   local section = { blocks = {} }
   header.sections[1] = section
   each_block(rest, first, function(comment, code, line)
      local title = code == "" and comment:match("^%-%-%-%- (.-) %-*$")
      if title then
         section = { title = title, blocks = {} }
         header.sections[#header.sections + 1] = section
      else
         table.insert(section.blocks, { comment = comment, code = code, line = line, names = names_of(code) })
      end
   end)
   return header
end

-- ---- the lint ----

local function check(header)
   for _, section in ipairs(header.sections) do
      for _, block in ipairs(section.blocks) do
         each_function(block.code, function(name)
            if block.comment == "" then
               lint.fault(("%s:%d"):format(header.path, block.line), "'%s' has no contract", name)
            end
         end)
      end
   end
end

-- ---- Markdown ----

-- Paragraphs of a comment; those that are indented are examples: fn(text, is_example).
local function each_paragraph(text, fn)
   for paragraph in (text .. "\n\n"):gmatch("(.-)\n\n+") do
      if paragraph ~= "" then fn(paragraph, paragraph:find("^    ") ~= nil) end
   end
end

-- `pages`: name -> the page that it stands on.
local function markdown_text(text, pages, page)
   local function link(name)
      local there = pages[name]
      return there and ("[%s](%s#%s)"):format(name, there == page and "" or there .. ".md", name) or name
   end
   local out = {}
   for plain, quoted in (text .. "``"):gmatch("([^`]*)(`[^`]*`)") do
      plain = plain:gsub("[%w_]+", function(word) return pages[word] and link(word) end)
      out[#out + 1] = plain:gsub("[*<]", "\\%0") .. (quoted ~= "``" and quoted or "")
   end
   return table.concat(out)
end

local function markdown_block(block, pages, page)
   local out = {}
   if #block.names > 0 then
      for _, name in ipairs(block.names) do out[#out + 1] = ('<a id="%s"></a>'):format(name) end
      out[#out + 1] = "\n### " .. table.concat(block.names, ", ") .. "\n"
   end
   if block.code ~= "" then out[#out + 1] = "```c\n" .. shown(block.code) .. "\n```\n" end
   each_paragraph(block.comment, function(text, is_example)
      out[#out + 1] = (is_example and text or markdown_text(text, pages, page)) .. "\n"
   end)
   return table.concat(out, "\n")
end

local function markdown(header, pages)
   local out = { "# " .. header.file .. "\n" }
   each_paragraph(header.intro, function(text, is_example)
      out[#out + 1] = (is_example and text or markdown_text(text, pages, header.name)) .. "\n"
   end)
   for _, section in ipairs(header.sections) do
      if section.title then out[#out + 1] = "## " .. section.title:gsub("^%l", string.upper) .. "\n" end
      for _, block in ipairs(section.blocks) do out[#out + 1] = markdown_block(block, pages, header.name) end
   end
   return table.concat(out, "\n")
end

local function index(headers)
   local out = { "# The headers of fern\n" }
   for _, header in ipairs(headers) do
      out[#out + 1] = ("- [%s](%s.md): %s"):format(header.file, header.name, header.about)
   end
   return table.concat(out, "\n") .. "\n"
end

-- ---- man ----

local function roff(text)
   return (text:gsub("\\", "\\e"):gsub("`", ""):gsub("%-", "\\-"):gsub("\n([.'])", "\n\\&%1"):gsub("^([.'])", "\\&%1"))
end

local function man_code(code)
   return ".PP\n.nf\n" .. roff(shown(code)) .. "\n.fi"
end

local function man_text(text, out)
   each_paragraph(text, function(paragraph, is_example)
      out[#out + 1] = is_example and ".PP\n.nf\n" .. roff(paragraph) .. "\n.fi" or ".PP\n" .. roff(paragraph)
   end)
end

local function library_of(name)
   return name == "fern_tls" and "fern-tls" or name == "fern_http" and "fern-http"
      or name:find("^fern_lua") and "fern-lua" or "fern"
end

local function man(header, version, headers)
   local out = {
      (".TH %s 3 \"\" \"fern %s\" \"fern\""):format(header.name:upper(), version),
      ".SH NAME\n" .. roff(header.name .. " - " .. header.about),
      ".SH SYNOPSIS\n.nf\n.B #include <" .. header.file .. ">\n.PP\n"
         .. roff("cc program.c $(pkg-config --cflags --libs " .. library_of(header.name) .. ")") .. "\n.fi",
      ".SH DESCRIPTION",
   }
   man_text(header.intro, out)
   for _, section in ipairs(header.sections) do
      if section.title then out[#out + 1] = ".SH " .. roff(section.title:upper()) end
      for _, block in ipairs(section.blocks) do
         if block.code ~= "" then out[#out + 1] = man_code(block.code) end
         man_text(block.comment, out)
      end
   end
   local others = {}
   for _, other in ipairs(headers) do
      if other ~= header then others[#others + 1] = (".BR %s (3)"):format(other.name) end
   end
   out[#out + 1] = ".SH SEE ALSO\n" .. table.concat(others, ",\n")
   return table.concat(out, "\n") .. "\n"
end

-- ---- all of them ----

local function write(path, text)
   local file <close> = assert(io.open(path, "w"))
   assert(file:write(text))
end

local headers, pages = {}, {}
for _, path in ipairs(lint.list("include/*.h")) do
   local header = read(path)
   headers[#headers + 1] = header
   check(header)
   for _, section in ipairs(header.sections) do
      for _, block in ipairs(section.blocks) do
         for _, name in ipairs(block.names) do pages[name] = header.name end
      end
   end
end

if arg[1] == "lint" then
   lint.finish("every function has a contract")
else
   local folder, version = arg[1], arg[2]
   for _, header in ipairs(headers) do
      write(("%s/reference/%s.md"):format(folder, header.name), markdown(header, pages))
      write(("%s/man3/%s.3"):format(folder, header.name), man(header, version, headers))
   end
   write(folder .. "/reference/index.md", index(headers))
end
