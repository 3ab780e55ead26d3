// Asks for the live part of the page again while the page is visible, and sends files. No library.
"use strict";

const live = document.querySelector("[data-live]");
const notice = document.querySelector("[data-notice]");
let tag = "none";

function busy() {
  const active = document.activeElement;
  return document.hidden || window.getSelection().toString() !== "" ||
    (live.contains(active) && ["INPUT", "SELECT", "TEXTAREA"].includes(active.tagName));
}

function say(text) {
  notice.hidden = text === "";
  if (notice.textContent !== text) notice.textContent = text;
}

// What the reader has done to the page survives: open details, scrolled boxes, the focus.
function replace(html) {
  const all = (selector) => [...live.querySelectorAll(selector)];
  const focusable = "a, button, summary, [tabindex]";
  const focused = all(focusable).indexOf(document.activeElement);
  const href = focused >= 0 ? document.activeElement.getAttribute("href") : null;
  const open = all("details").map((each) => each.open);
  const scrolled = all(".scroll, pre").map((each) => [each.scrollLeft, each.scrollTop]);
  live.innerHTML = html;
  all("details").forEach((each, place) => { each.open = open[place] ?? each.open; });
  all(".scroll, pre").forEach((each, place) => { [each.scrollLeft, each.scrollTop] = scrolled[place] ?? [0, 0]; });
  const again = href ? live.querySelector(`[href="${CSS.escape(href)}"]`) : all(focusable)[focused];
  again?.focus({ preventScroll: true });
}

async function refresh() {
  if (busy()) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-Live": tag } });
    const text = answer.status === 200 ? await answer.text() : "";
    say(answer.ok || answer.status === 304 ? "" : `The console answered ${answer.status}; what you see is old. Reload to see why.`);
    if (answer.status !== 200 || busy()) return;
    tag = answer.headers.get("X-Live") || "none";
    replace(text);
  } catch {
    say("The console does not answer; it may have been stopped. What you see is old.");
  }
}

async function again() {
  await refresh();
  setTimeout(again, Number(live.dataset.live));
}

if (live) setTimeout(again, Number(live.dataset.live));

for (const form of document.querySelectorAll("[data-upload]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = form.querySelector("textarea");
    const file = text ? new File([text.value], `console-${Date.now()}${form.dataset.upload}`) : form.querySelector("input").files[0];
    const output = form.querySelector("output");
    if (!file) { output.textContent = "Choose a file first."; return; }
    output.textContent = "Uploading ...";
    try {
      const answer = await fetch(`${location.pathname}?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      output.textContent = answer.ok ? `Uploaded as ${await answer.text()}` : `Refused: HTTP ${answer.status}`;
    } catch {
      output.textContent = "Not uploaded: the console does not answer.";
    }
  });
}
