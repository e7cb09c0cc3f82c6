// The Markdown of a model card as elements: headings, paragraphs, lists, tables, code. HTML in it stays text.

/** Elements of a Markdown text; its headings are lowered by two levels. */
export function renderMarkdown(text) {
  const lines = text.split("\n");
  const blocks = [];
  while (lines.length) {
    const line = lines[0];
    const heading = /^(#{1,4}) (.*)/.exec(line);
    if (!line.trim()) lines.shift();
    else if (heading) blocks.push(make(`h${heading[1].length + 2}`, inline(lines.shift().replace(/^#+ /, ""))));
    else if (line.startsWith("```")) blocks.push(codeBlock(lines));
    else if (line.startsWith("|")) blocks.push(table(take(lines, (next) => next.startsWith("|"))));
    else if (line.startsWith("- ")) blocks.push(bulletList(take(lines, (next) => /^(- | +\S)/.test(next))));
    else blocks.push(make("p", inline(take(lines, (next) => next.trim() && !/^(#|```|\||- )/.test(next), 1).join(" "))));
  }
  return blocks;
}

/** The first lines that pass a test, removed from `lines`; `least` are taken whatever they are. */
function take(lines, test, least = 0) {
  const end = lines.findIndex((line, index) => index >= least && !test(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

function codeBlock(lines) {
  lines.shift();
  const code = take(lines, (line) => !line.startsWith("```"));
  lines.shift();
  const block = make("pre", [make("code", [code.join("\n")])]);
  block.tabIndex = 0; // it scrolls
  return block;
}

function bulletList(lines) {
  const items = lines.join("\n").split(/^- /m).filter(Boolean);
  return make("ul", items.map((item) => make("li", inline(item.trim().replace(/\s+/g, " ")))));
}

function table(lines) {
  const cells = (line) => line.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
  const rightAligned = cells(lines[1] ?? "").map((cell) => cell.endsWith(":"));
  const row = (tag, line) =>
    make("tr", cells(line).map((cell, index) => {
      const made = make(tag, inline(cell));
      made.className = rightAligned[index] ? "number" : "";
      if (tag === "th") made.scope = "col";
      return made;
    }));
  const body = make("tbody", lines.slice(2).map((line) => row("td", line)));
  const scroll = make("div", [make("table", [make("thead", [row("th", lines[0])]), body])]);
  scroll.className = "scroll";
  return scroll;
}

/** Code spans, bold text and escapes in the middle of a line. */
function inline(text) {
  const parts = text.match(/`[^`]+`|\*\*.+?\*\*|[^`*]+|[`*]/g) ?? [];
  return parts.map((part) => {
    if (/^`[^`]+`$/.test(part)) return make("code", [part.slice(1, -1)]);
    if (/^\*\*.+\*\*$/.test(part)) return make("strong", inline(part.slice(2, -2)));
    return part.replace(/\\([\\`*_[\]|&])/g, "$1").replaceAll("&lt;", "<");
  });
}

function make(tag, children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}
