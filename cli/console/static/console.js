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

async function refresh() {
  if (busy()) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-Live": tag } });
    notice.hidden = answer.ok || answer.status === 304;
    notice.textContent = notice.hidden ? "" : `The console answered ${answer.status}; what you see may be old.`;
    if (answer.status !== 200) return;
    tag = answer.headers.get("X-Live") || "none";
    const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const open = [...live.querySelectorAll("details")].map((each) => each.open);
    live.innerHTML = await answer.text();
    live.querySelectorAll("details").forEach((each, place) => { each.open = open[place] ?? each.open; });
    if (focused) live.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  } catch {
    notice.hidden = false;
    notice.textContent = "The console does not answer; it may have been stopped. What you see is old.";
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
    const file = form.querySelector("input[type=file]").files[0];
    const output = form.querySelector("output");
    if (!file) { output.textContent = "Choose a file first."; return; }
    output.textContent = "Uploading ...";
    const answer = await fetch(`/send?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    output.textContent = answer.ok ? `Uploaded as ${await answer.text()}` : `Refused: HTTP ${answer.status}`;
  });
}
