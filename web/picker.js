// The cards of X2Edit Human Judge: what is open is asked from the server, so a reloaded page finds it again. Only the page
// that queued the run shows cards; others say that a question waits.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { element, wordsOf } from "./elements.js";

const PATH = "/x2edit/choices";
const EVENT = "x2edit.choices";

const WORDS = {
  en: {
    title: "Which edit is better?",
    source: "Source",
    candidate: "Candidate",
    hide: "Hide",
    show: "Choose an edit",
    stop: "Stop the run",
    timer: (seconds) => `The first is taken in ${seconds} s`,
    failed: "The answer did not arrive: ",
    elsewhere: "A run waits for its owner to choose an edit",
  },
  zh: {
    title: "哪个编辑结果更好？",
    source: "原图",
    candidate: "候选",
    hide: "隐藏",
    show: "选择编辑结果",
    stop: "停止运行",
    timer: (seconds) => `${seconds} 秒后选用第一个`,
    failed: "回答没有送达：",
    elsewhere: "有一个运行正在等待其提交者选择编辑结果",
  },
};

const STYLE = `
.x2edit-picker {
  position: fixed; z-index: 1500; inset: auto 0 0 0; margin: 0 auto 16px; padding: 12px 16px; box-sizing: border-box;
  max-width: min(96vw, 1400px); width: fit-content; max-height: 86vh; overflow: auto; border-radius: 8px;
  color: var(--input-text, #ddd); background: var(--comfy-menu-bg, #222); border: 1px solid var(--border-color, #555);
  box-shadow: 0 6px 32px #000a; font: 14px/1.4 sans-serif;
}
.x2edit-picker header, .x2edit-picker footer { display: flex; gap: 12px; align-items: baseline; }
.x2edit-picker header { margin-bottom: 8px; }
.x2edit-picker h2 { font-size: 16px; margin: 0; }
.x2edit-picker .x2edit-instruction { flex: 1; opacity: 0.8; overflow-wrap: anywhere; }
.x2edit-picker .x2edit-cards { display: flex; flex-wrap: wrap; gap: 10px; justify-content: center; }
.x2edit-picker .x2edit-card {
  display: flex; flex-direction: column; gap: 4px; align-items: center; padding: 6px; border-radius: 6px; margin: 0;
  color: inherit; background: var(--comfy-input-bg, #333); border: 2px solid transparent; font: inherit;
}
.x2edit-picker button { cursor: pointer; }
.x2edit-picker button.x2edit-card:hover, .x2edit-picker button.x2edit-card:focus-visible { border-color: #3c9; outline: none; }
.x2edit-picker .x2edit-card img { display: block; width: clamp(120px, 18vw, 320px); height: auto; }
.x2edit-picker footer { margin-top: 8px; }
.x2edit-picker footer .x2edit-timer { flex: 1; opacity: 0.8; }
.x2edit-picker footer button {
  color: inherit; background: var(--comfy-input-bg, #333); border: 1px solid var(--border-color, #555); border-radius: 4px;
  padding: 4px 10px; font: inherit;
}
.x2edit-elsewhere {
  position: fixed; z-index: 1400; bottom: 8px; left: 50%; transform: translateX(-50%); padding: 4px 12px; border-radius: 6px;
  color: var(--input-text, #ddd); background: var(--comfy-menu-bg, #222); border: 1px solid var(--border-color, #555);
  font: 12px/1.4 sans-serif; pointer-events: none;
}
.x2edit-picker.x2edit-hidden > :not(footer) { display: none; }
.x2edit-picker.x2edit-hidden footer { margin-top: 0; }
`;

// Keys that a person is sending elsewhere must never land on a card: what is picked cannot be taken back.
function isEditable(target) {
  return Boolean(target?.isContentEditable || target?.matches("input, textarea, select"));
}

class Picker {
  constructor(question, onAnswered) {
    this.id = question.id;
    this.onAnswered = onAnswered;
    this.text = wordsOf(WORDS);
    this.endsAt = question.remaining_s === null ? null : performance.now() + question.remaining_s * 1000;
    this.timer = element("span", { className: "x2edit-timer", role: "timer" });
    this.panel = this.draw(question);
    this.panel.addEventListener("keydown", (event) => this.onKey(event, question.count));
    this.show();
    this.tick();
    this.clock = setInterval(() => this.tick(), 250);
  }

  show() {
    const editing = isEditable(document.activeElement);
    if (editing) this.panel.querySelector("header").role = "alert"; // read aloud in place of the focus
    document.body.append(this.panel);
    this.panel.showPopover?.(); // above whatever dialog is open: the run waits for this one
    if (!editing) this.panel.querySelector("button.x2edit-card").focus();
  }

  draw(question) {
    const cards = Array.from({ length: question.count }, (_, index) => this.card(index));
    return element(
      "section",
      { className: "x2edit-picker", role: "dialog", popover: "manual", tabIndex: -1, ariaLabel: this.text.title },
      element(
        "header",
        {},
        element("h2", { textContent: this.text.title }),
        element("span", { className: "x2edit-instruction", textContent: question.title }),
      ),
      element("div", { className: "x2edit-cards" }, this.source(), ...cards),
      this.footer(),
    );
  }

  source() {
    return element(
      "figure",
      { className: "x2edit-card" },
      element("img", { src: this.pictureUrl(-1), alt: this.text.source }),
      element("figcaption", { textContent: this.text.source }),
    );
  }

  card(index) {
    const name = `${this.text.candidate} ${index + 1}`;
    return element(
      "button",
      { className: "x2edit-card", type: "button", onclick: () => this.answer(index) },
      element("img", { src: this.pictureUrl(index), alt: name }),
      element("span", { textContent: name }),
    );
  }

  footer() {
    const hide = element("button", { type: "button", textContent: this.text.hide });
    hide.onclick = () => {
      const hidden = this.panel.classList.toggle("x2edit-hidden");
      hide.textContent = hidden ? this.text.show : this.text.hide;
    };
    const stop = element("button", { type: "button", textContent: this.text.stop });
    stop.onclick = () => api.fetchApi("/interrupt", { method: "POST" });
    return element("footer", {}, this.timer, hide, stop);
  }

  pictureUrl(index) {
    return api.apiURL(`${PATH}/${this.id}/${index}`);
  }

  onKey(event, count) {
    event.stopPropagation(); // the graph's shortcuts must not fire from here
    if (event.ctrlKey || event.metaKey || event.altKey) {
      if (event.key === "Enter" || event.key === " ") event.preventDefault(); // it would click the focused card
      return;
    }
    const index = Number(event.key) - 1;
    if (Number.isInteger(index) && index >= 0 && index < count) this.answer(index);
  }

  tick() {
    if (this.endsAt === null) return;
    const seconds = Math.max(0, Math.ceil((this.endsAt - performance.now()) / 1000));
    this.timer.textContent = this.text.timer(seconds);
  }

  async answer(choice) {
    try {
      const reply = await api.fetchApi(`${PATH}/${this.id}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ choice }),
      });
      if (!reply.ok && reply.status !== 404) throw new Error(reply.statusText);
      this.onAnswered();
    } catch (error) {
      clearInterval(this.clock);
      this.timer.textContent = this.text.failed + error.message;
    }
  }

  close() {
    clearInterval(this.clock);
    this.panel.remove();
  }
}

let shown = null;
let asked;
let asking = Promise.resolve();
const elsewhere = element("div", { className: "x2edit-elsewhere", role: "status" });

async function look() {
  asked = api.clientId;
  const reply = await api.fetchApi(`${PATH}?clientId=${encodeURIComponent(api.clientId ?? "")}`);
  if (!reply.ok) return;
  const open = await reply.json();
  if (shown && !open.some((question) => question.id === shown.id)) {
    shown.close();
    shown = null;
  }
  if (!shown && open.length) shown = new Picker(open[0], refresh);
  const others = Number(reply.headers.get("X2Edit-Open")) > open.length;
  elsewhere.textContent = wordsOf(WORDS).elsewhere;
  if (others) document.body.append(elsewhere);
  else elsewhere.remove();
}

// One look after the other: two at once could show one question twice.
function refresh() {
  asking = asking.then(look).catch((error) => console.warn("X2Edit: the open choices could not be read.", error));
}

app.registerExtension({
  name: "x2edit.picker",
  setup() {
    document.head.append(element("style", { textContent: STYLE }));
    api.addEventListener(EVENT, refresh);
    api.addEventListener("reconnected", refresh);
    api.addEventListener("status", () => api.clientId !== asked && refresh()); // the server names the page as it connects
    refresh();
  },
});
