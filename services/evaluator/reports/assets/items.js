// Unpacks the items that the page carries (`packing.py` writes this form) and answers what is to
// be known of one. Draws nothing.

/** Return the JSON that stands deflated and in base64 in the page. */
async function unpacked() {
  const binary = atob(document.getElementById("packed").textContent);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < bytes.length; place++) bytes[place] = binary.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

/** Return the items with their questions and answers in the place of numbers. */
function itemsOf(packed) {
  const { texts = [], questions = [], answers = [], items = [] } = packed;
  for (const question of questions) question.items = [];
  return items.map((told) => {
    const item = {
      lineup: [],
      overrides: [],
      ...told,
      question: questions[told.question],
      answers: (told.answers ?? []).map((place) => answers[place]),
    };
    item.texts = textsOf(item);
    item.text = (place) => texts[place] ?? "";
    item.question.items.push(item);
    return item;
  });
}

/** Return the places of all texts that a search looks through. */
function textsOf(item) {
  const { question } = item;
  return [
    ...(question.turns ?? []),
    ...(question.references ?? []),
    ...(question.messages ?? []).map((message) => message.content),
    ...item.answers.flatMap((answer) => answer.turns ?? []),
    ...(item.judge_text === undefined ? [] : [item.judge_text]),
  ];
}

/** Return competition ranks in the order of the line-up, those of scores too; else null. */
function ranksOf(verdict) {
  if (!verdict) return null;
  if (verdict.ranks) return verdict.ranks;
  if (!verdict.scores) return null;
  return verdict.scores.map((score) => 1 + verdict.scores.filter((other) => other > score).length);
}

/** Return the names in front, several if they share it. */
function bestOf(item) {
  const ranks = item.lineup.length > 1 ? ranksOf(item.verdict) : null;
  return ranks ? item.lineup.filter((_, place) => ranks[place] === 1) : [];
}

/** Return a verdict in one line, best first. */
function inWords(verdict, lineup) {
  const parts = [];
  const ranks = lineup.length > 1 ? ranksOf(verdict) : null;
  if (ranks) {
    const places = [...new Set(ranks)].sort((one, other) => one - other);
    const groups = places.map((rank) => lineup.filter((_, place) => ranks[place] === rank));
    parts.push(groups.map((group) => group.join(" = ")).join(" > "));
  }
  if (verdict?.scores) parts.push(`scores ${verdict.scores.join(", ")}`);
  if (verdict?.label) parts.push(`label ${verdict.label}`);
  if (typeof verdict?.passed === "boolean") parts.push(verdict.passed ? "passed" : "failed");
  return parts.join("; ") || "no verdict";
}

/** Return all words by which an item's status can be asked for. */
function statusesOf(item) {
  const found = [item.status];
  if (typeof item.verdict?.passed === "boolean") found.push(item.verdict.passed ? "passed" : "failed");
  if (item.verdict?.confidence === "low") found.push("low confidence");
  if (item.overrides.length) found.push("overridden");
  return found;
}
