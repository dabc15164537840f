"use strict";
const filters = document.getElementById("filters");
const FIRST = 24;
const cards = [...document.querySelectorAll(".card")];

if (filters) {
  const buttons = [...filters.querySelectorAll("button")];
  const byClass = document.getElementById("by-class");
  const dialog = document.getElementById("enlarged");
  const more = document.getElementById("more");
  let open = null, matching = cards, limit = FIRST;

  const has = (card, list, value) => value === "" || card.dataset[list].split(" ").includes(value);

  function filter() {
    const kind = buttons.find((button) => button.ariaPressed === "true").dataset.kind;
    matching = cards.filter((card) => has(card, "kinds", kind) && has(card, "labels", byClass.value));
    limit = FIRST;
    show();
  }

  function show() {
    cards.forEach((card) => (card.hidden = true));
    matching.slice(0, limit).forEach((card) => (card.hidden = false));
    const rest = matching.length - limit;
    more.hidden = rest <= 0;
    more.textContent = `Show ${rest} more`;
    document.getElementById("shown").value = `${matching.length} of ${cards.length} pictures`;
  }

  function enlarge(card) {
    open = card;
    dialog.querySelector("b").textContent = card.querySelector(".id").textContent;
    const parts = [card.querySelector(".pair"), card.querySelector(".what")];
    dialog.querySelector(".body").replaceChildren(...parts.map((part) => part.cloneNode(true)));
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const place = matching.indexOf(open) + by + matching.length;
    if (by) enlarge(matching[place % matching.length]);
    else dialog.close();
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      buttons.forEach((other) => (other.ariaPressed = String(other === button)));
      filter();
    });
  }
  byClass.addEventListener("change", filter);
  cards.forEach((card) => card.querySelector("button").addEventListener("click", () => enlarge(card)));
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) step(Number(button.dataset.step));
    else if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  more.addEventListener("click", () => {
    limit = Infinity;
    show();
  });
  filters.hidden = false;
  filter();
}
