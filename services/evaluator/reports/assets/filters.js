// Which items are shown: the form above the list, and what it asks for.

const FIELDS = {
  dimension: (item) => [item.dimension],
  category: (item) => [item.question.category],
  language: (item) => [item.question.language],
  judge: (item) => [item.judge],
  status: statusesOf,
  model: (item) => (item.lineup.length ? item.lineup : item.answers.map((answer) => answer.candidate)),
};

class Filters {
  constructor(form, items, texts, changed) {
    this.form = form;
    this.items = items;
    this.lowered = texts.map((text) => text.toLowerCase());
    for (const name of Object.keys(FIELDS)) this.offer(name);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => this.follow(changed)));
    form.addEventListener("input", () => this.follow(changed));
    form.hidden = false;
  }

  /** Give a menu its choices; one without any is not shown. */
  offer(name) {
    const menu = this.form.elements[name];
    const values = new Set(this.items.flatMap(FIELDS[name]).filter((value) => value));
    for (const value of values) menu.append(new Option(value, value));
    menu.parentElement.hidden = values.size < 2;
  }

  follow(changed) {
    const { model, outcome } = this.form.elements;
    outcome.disabled = !model.value;
    if (outcome.disabled) outcome.value = "";
    changed();
  }

  /** What is searched for, in small letters. */
  get words() {
    return this.form.elements.text.value.trim().toLowerCase();
  }

  found() {
    const asked = Object.keys(FIELDS)
      .map((name) => [FIELDS[name], this.form.elements[name].value])
      .filter(([, value]) => value);
    const { model, outcome } = this.form.elements;
    const holding = this.holding();
    return this.items.filter(
      (item) =>
        asked.every(([values, value]) => values(item).includes(value)) &&
        (!outcome.value || outcomeOf(item, model.value) === outcome.value) &&
        (!holding || item.id.includes(this.words) || item.texts.some((place) => holding.has(place))),
    );
  }

  /** The places of the texts that hold what is searched for; null if nothing is. */
  holding() {
    const { words } = this;
    if (!words) return null;
    const places = new Set();
    this.lowered.forEach((text, place) => text.includes(words) && places.add(place));
    return places;
  }
}

function outcomeOf(item, model) {
  const best = bestOf(item);
  if (!best.length) return null;
  if (!best.includes(model)) return "lost";
  return best.length > 1 ? "shared" : "won";
}
