// The list of items, which of them is open, keys and links.

const PAGE = 200;

class Browser {
  constructor(packed) {
    this.items = itemsOf(packed);
    this.byId = new Map(this.items.map((item) => [item.id, item]));
    this.list = document.getElementById("list");
    this.detail = document.getElementById("detail");
    this.more = document.getElementById("more");
    this.current = null;
    this.filters = new Filters(document.getElementById("filters"), this.items, packed.texts ?? [], () => this.filter());
    this.more.addEventListener("click", () => this.extend());
    addEventListener("hashchange", () => this.follow());
    addEventListener("keydown", (event) => this.key(event));
    this.filter();
    this.follow();
  }

  /** Show what the filters find; what is open stays open while it is among it. */
  filter() {
    this.found = this.filters.found();
    this.list.replaceChildren();
    this.extend();
    const all = this.items.length.toLocaleString("en");
    document.getElementById("counted").textContent =
      `${this.found.length.toLocaleString("en")} of ${all} items. Keys: j next, k previous, / search.`;
    this.open(this.found.includes(this.current) ? this.current : (this.found[0] ?? null));
  }

  extend() {
    const shown = this.list.childElementCount;
    this.list.append(...this.found.slice(shown, shown + PAGE).map(rowOf));
    this.more.hidden = this.list.childElementCount >= this.found.length;
  }

  open(item) {
    this.current = item;
    this.detail.hidden = !item;
    this.detail.replaceChildren(...(item ? detailOf(item).filter((part) => part) : []));
    this.list.querySelector("[aria-current]")?.removeAttribute("aria-current");
    const row = this.list.children[this.found.indexOf(item)]?.firstElementChild;
    if (row) {
      row.setAttribute("aria-current", "true");
      reveal(row, this.list.parentElement);
    }
    mark(this.detail, this.filters.words);
  }

  /** Open what the address names. */
  follow() {
    const item = this.byId.get(decoded(location.hash.slice(1)));
    if (!item) return;
    this.open(item);
    this.detail.scrollIntoView({ block: "start" });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, select, textarea, [contenteditable]")) return;
    const step = { j: 1, k: -1 }[event.key];
    if (step) this.step(step);
    else if (event.key === "/") this.filters.form.elements.text.focus();
    else return;
    event.preventDefault();
  }

  step(by) {
    const place = this.found.indexOf(this.current) + by;
    const next = this.found[Math.max(0, Math.min(place, this.found.length - 1))];
    if (!next) return;
    while (this.found.indexOf(next) >= this.list.childElementCount) this.extend();
    history.replaceState(null, "", `#${next.id}`);
    this.open(next);
    if (!inView(this.detail)) this.detail.scrollIntoView({ block: "start" });
  }
}

function rowOf(item) {
  const best = bestOf(item);
  const open = item.status !== "judged" ? item.status : best.length ? `★ ${best.join(", ")}` : inWords(item.verdict, item.lineup);
  const about = [item.id, item.dimension, item.question.category, item.overrides.length ? "overridden" : null];
  return element(
    "li",
    {},
    element(
      "a",
      { href: `#${item.id}` },
      element("span", { class: "about" }, about.filter((part) => part).join(" · ")),
      element("span", { class: "asked", dir: "auto" }, item.text(item.question.turns?.at(-1)).slice(0, 200)),
      element("span", { class: `outcome ${item.status}` }, open),
    ),
  );
}

/** Scroll a box, and nothing around it, so that a row is seen. */
function reveal(row, box) {
  const [inner, outer] = [row.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top;
  if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom;
}

function inView(box) {
  const { top, bottom } = box.getBoundingClientRect();
  return top < innerHeight * 0.75 && bottom > innerHeight * 0.25;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Mark what was searched for, where the browser can without changing the page. */
function mark(root, words) {
  if (!globalThis.Highlight) return;
  CSS.highlights.delete("found");
  if (!words) return;
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.data.toLowerCase();
    // Some letters change their length in small; places would not fit then.
    if (text.length !== node.data.length) continue;
    for (let at = text.indexOf(words); at >= 0 && ranges.length < 1000; at = text.indexOf(words, at + words.length)) {
      ranges.push(new StaticRange({ startContainer: node, startOffset: at, endContainer: node, endOffset: at + words.length }));
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

try {
  new Browser(await unpacked());
} catch (fault) {
  document.getElementById("counted").textContent = `The items cannot be unpacked by this browser (${fault}).`;
}
