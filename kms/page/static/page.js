// Keeps the list of waiting machines as it is on the server: the stream says
// that one came to wait, and the part of the page is taken again. Without
// this script the page works; it shows what was so when it was loaded.
"use strict";
(() => {
  const waiting = document.querySelector("#waiting[data-live]");
  if (!waiting) return;
  let pending = null;
  const load = async () => {
    pending = null;
    const reply = await fetch("/machines/waiting", {headers: {Accept: "text/html"}});
    if (reply.status === 401) { location.reload(); return; }
    if (!reply.ok) return;
    const text = await reply.text();
    if (text === waiting.dataset.shown) return;
    waiting.dataset.shown = text;
    waiting.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
    const count = waiting.querySelectorAll("tbody tr").length;
    document.title = document.title.replace(/^\(\d+\) /, "").replace(/^/, count ? `(${count}) ` : "");
  };
  const soon = () => { pending ??= setTimeout(load, 200); };
  // A browser has few connections for one host: a tab that nobody sees holds none.
  let stream = null;
  const follow = () => {
    if (document.hidden) { stream?.close(); stream = null; return; }
    if (stream) return;
    stream = new EventSource("/live");
    stream.addEventListener("node", soon);
    stream.addEventListener("open", soon);
  };
  document.addEventListener("visibilitychange", follow);
  follow();
  setInterval(() => { if (!document.hidden) soon(); }, 15000); // those that wait no longer are told of by nobody
})();
