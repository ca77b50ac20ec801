// One item, drawn. What anyone wrote is only ever set as text.

/** Return an element; strings among its children are texts, null is nothing. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Return what somebody wrote, in its own language and direction. */
function written(text, language) {
  return element("div", { class: "text", dir: "auto", lang: language }, text || "(empty)");
}

function folded(title, ...children) {
  return element("details", {}, element("summary", {}, title), ...children);
}

function titled(title, ...children) {
  return element("section", {}, element("h4", {}, title), ...children);
}

function detailOf(item) {
  return [heading(item), asked(item), answered(item), judged(item), overridden(item)].flat();
}

function heading(item) {
  const { question } = item;
  const tags = [item.dimension, question.category, question.language, item.judge && `judge: ${item.judge}`];
  if (item.repeat) tags.push(`repeat ${item.repeat + 1}`);
  return element(
    "header",
    {},
    element("h3", {}, element("a", { href: `#${item.id}`, title: "Link to this item" }, item.id)),
    element(
      "p",
      { class: "tags" },
      statusesOf(item).map((status) => element("span", { class: `status ${status.replace(" ", "-")}` }, status)),
      tags.filter((tag) => tag).map((tag) => element("span", { class: "tag" }, tag)),
    ),
    siblings(item),
  );
}

/** Links to the other items of the same question. */
function siblings(item) {
  const others = item.question.items.filter((other) => other !== item).slice(0, 24);
  if (!others.length) return null;
  const links = others.map((other) =>
    element("a", { href: `#${other.id}`, title: other.id }, siblingName(other)),
  );
  return element("p", { class: "siblings" }, "Same question: ", links.flatMap((link, place) => (place ? [" · ", link] : [link])));
}

function siblingName(item) {
  const first = item.lineup.length > 1 ? `${item.lineup[0]} first` : item.lineup[0];
  return [item.dimension, first].filter((part) => part).join(", ") || item.id;
}

function asked(item) {
  const { question } = item;
  const several = question.turns?.length > 1;
  const turns = (question.turns ?? []).map((turn, place) => [
    several ? element("h5", {}, `Turn ${place + 1}`) : null,
    written(item.text(turn), question.language),
  ]);
  const references = (question.references ?? []).map((place) => written(item.text(place), question.language));
  const messages = (question.messages ?? []).map((message) => [
    element("h5", {}, message.role),
    written(item.text(message.content), question.language),
  ]);
  return [
    titled(`Question ${question.id ?? ""}`, ...turns.flat()),
    references.length ? folded("Reference", ...references) : null,
    messages.length ? folded("Whole prompt", ...messages.flat()) : null,
    question.row === undefined ? null : folded("Row of the dataset", written(item.text(question.row))),
  ];
}

function answered(item) {
  const ranks = item.lineup.length > 1 ? ranksOf(item.verdict) : null;
  const cards = item.answers.map((answer, place) => {
    const title = element("h5", {}, element("span", { class: "place" }, `${place + 1}`), ` ${answer.candidate}`);
    const best = ranks?.[place] === 1;
    return element(
      "article",
      { class: best ? "answer best" : "answer", "aria-label": `Answer of ${answer.candidate}` },
      element("header", {}, title, element("p", { class: "mark" }, markOf(item, place, ranks))),
      body(item, answer),
    );
  });
  const title = item.answers.length > 1 ? "Answers, in the order that the judge saw" : "Answer";
  return titled(title, element("div", { class: "answers", tabindex: "0", role: "group", "aria-label": title }, cards));
}

function markOf(item, place, ranks) {
  const parts = [];
  if (ranks) {
    const shared = ranks.filter((rank) => rank === ranks[place]).length > 1;
    parts.push(`${ranks[place] === 1 ? "★ " : ""}rank ${ranks[place]}${shared ? " (shared)" : ""}`);
  }
  const score = item.verdict?.scores?.[place];
  if (score !== undefined) parts.push(`score ${score}`);
  return parts.join(", ");
}

function body(item, answer) {
  const several = answer.turns?.length > 1;
  const turns = (answer.turns ?? []).flatMap((turn, place) => [
    several ? element("h6", {}, `Turn ${place + 1}`) : null,
    written(item.text(turn), item.question.language),
  ]);
  const length = (answer.turns ?? []).reduce((sum, turn) => sum + [...item.text(turn)].length, 0);
  const stopped = answer.finish && answer.finish !== "stop" ? `, ended by ${answer.finish}` : "";
  return [
    ...turns,
    answer.error ? failure(answer.error) : null,
    element("p", { class: "reading" }, `${length.toLocaleString("en")} characters${stopped}`),
  ];
}

function failure(error) {
  const told = [error.status, error.code].filter((part) => part).join(", ");
  return element("p", { class: "failure" }, `The ${error.stage} failed${told ? ` (${told})` : ""}: ${error.message}`);
}

function judged(item) {
  if (!item.judge && !item.verdict && !item.error) return [];
  const { verdict } = item;
  const rule = verdict ? `Read by ${verdict.rule}${verdict.confidence === "low" ? ", with low confidence" : ""}.` : "";
  // What a server calls itself must not turn the words around it.
  const version = item.model_version ? [" The judge answered as ", element("bdi", {}, item.model_version), "."] : [];
  return [
    titled(
      item.overrides.length ? "Verdict, by a person" : "Verdict",
      element("p", { class: "verdict" }, inWords(verdict, item.lineup)),
      element("p", { class: "reading" }, rule, ...version, usedBy(item)),
      item.error ? failure(item.error) : null,
    ),
    item.judge_text === undefined ? null : titled("What the judge wrote", written(item.text(item.judge_text))),
  ];
}

function usedBy(item) {
  const used = Object.entries(item.usage ?? {}).filter(([, value]) => typeof value === "number");
  return used.length ? ` Used: ${used.map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(", ")}.` : "";
}

function overridden(item) {
  if (!item.overrides.length) return [];
  const entries = item.overrides.map((each) =>
    element(
      "li",
      {},
      element("p", {}, element("strong", {}, each.author), ` at ${momentOf(each.at)}: `, inWords(each.verdict, item.lineup)),
      element("p", { class: "reading" }, `before: ${inWords(each.replaced, item.lineup)}`),
      written(each.reason),
    ),
  );
  return [titled("Overrides", element("ol", { class: "overrides" }, entries))];
}

function momentOf(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
