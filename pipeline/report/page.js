"use strict";
const filters = document.getElementById("filters");
const cards = [...document.querySelectorAll(".card")];

if (filters) {
  const buttons = [...filters.querySelectorAll("button")];
  const byClass = document.getElementById("by-class");
  const dialog = document.getElementById("enlarged");
  let open = null;

  const visible = () => cards.filter((card) => !card.hidden);
  const has = (card, list, value) => value === "" || card.dataset[list].split(" ").includes(value);

  function filter() {
    const kind = buttons.find((button) => button.ariaPressed === "true").dataset.kind;
    for (const card of cards) {
      card.hidden = !(has(card, "kinds", kind) && has(card, "labels", byClass.value));
    }
    document.getElementById("shown").value = `${visible().length} of ${cards.length} pictures`;
  }

  function enlarge(card) {
    open = card;
    dialog.querySelector("b").textContent = card.querySelector(".id").textContent;
    const parts = [card.querySelector(".pair"), card.querySelector(".what")];
    dialog.querySelector(".body").replaceChildren(...parts.map((part) => part.cloneNode(true)));
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const shown = visible();
    if (by) enlarge(shown[(shown.indexOf(open) + by + shown.length) % shown.length]);
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
  filters.hidden = false;
  filter();
}
