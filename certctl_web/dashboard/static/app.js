// What the pages do beyond links and forms. Nothing here is needed to use them.
(() => {
  "use strict";
  const root = document.documentElement;
  const find = (selector, within = document) => within.querySelector(selector);

  // --- Light and dark ---------------------------------------------------------------------------------------------

  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches);

  function labelThemeButton() {
    const button = find("[data-theme-toggle]");
    if (!button) return;
    button.hidden = false;
    button.setAttribute("aria-label", isDark() ? "Switch to the light theme" : "Switch to the dark theme");
    button.dataset.shows = isDark() ? "dark" : "light";
  }

  function switchTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("certctl-theme", root.dataset.theme);
    } catch {
      // The choice lasts as long as the page.
    }
    labelThemeButton();
  }

  systemIsDark.addEventListener("change", labelThemeButton);
  labelThemeButton();

  // --- Clicks -----------------------------------------------------------------------------------------------------

  function openDialog(link, event) {
    const dialog = document.getElementById(link.dataset.dialog);
    if (!dialog?.showModal) return;
    event.preventDefault();
    dialog.showModal();
  }

  async function copy(button) {
    const before = button.dataset.label ?? button.textContent;
    button.dataset.label = before;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = before; }, 1600);
  }

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const opener = target?.closest("[data-dialog]");
    if (opener) openDialog(opener, event);
    if (target?.closest("[data-theme-toggle]")) switchTheme();
    if (target?.closest("[data-close]")) target.closest("dialog")?.close();
    const copier = target?.closest("[data-copy]");
    if (copier) copy(copier);
    if (target instanceof HTMLDialogElement) target.close(); // the backdrop
  });

  // A second click while the first is on its way would do the same thing twice.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    event.submitter?.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // "/" goes to the search field, as in most tools.
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input, textarea, select, dialog");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing) return;
    const search = find("input[type=search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  });

  // --- Narrowing a long page ---------------------------------------------------------------------------------------

  const narrow = find("[data-narrows]");
  narrow?.addEventListener("input", () => {
    const words = narrow.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of document.querySelectorAll(narrow.dataset.narrows)) {
      const text = row.dataset.operation.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      left += row.hidden ? 0 : 1;
    }
    for (const group of document.querySelectorAll("[data-group], #kinds")) {
      group.hidden = !find("[data-operation]:not([hidden])", group);
    }
    const nothing = find("[data-nothing]");
    if (nothing) nothing.hidden = left > 0;
  });

  // A link to something that is folded opens it.
  const unfold = () => {
    const there = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (there instanceof HTMLDetailsElement) {
      there.open = true;
      there.scrollIntoView();
    }
  };
  addEventListener("hashchange", unfold);
  unfold();

  // --- The chart's hints ------------------------------------------------------------------------------------------

  const hint = document.createElement("div");
  hint.className = "hint";
  hint.hidden = true;
  hint.setAttribute("aria-hidden", "true");
  document.body.append(hint);

  document.addEventListener("pointerover", (event) => {
    const mark = event.target instanceof Element ? event.target.closest("[data-hint]") : null;
    hint.hidden = !mark;
    if (!mark) return;
    hint.textContent = mark.getAttribute("data-hint");
    const place = mark.getBoundingClientRect();
    const half = hint.offsetWidth / 2;
    const middle = Math.min(Math.max(place.left + place.width / 2, half + 8), innerWidth - half - 8);
    hint.style.left = `${middle - half}px`;
    hint.style.top = `${place.top - hint.offsetHeight - 8}px`;
  });

  // --- Refreshing -------------------------------------------------------------------------------------------------

  const lost = find("#lost");
  const isRefresh = (context) => context.sourceEvent?.type === "every";

  function busyElsewhere() {
    const selection = getSelection();
    const selecting = selection && !selection.isCollapsed && find("#live")?.contains(selection.anchorNode);
    return document.hidden || find("dialog[open]") || selecting;
  }

  document.addEventListener("htmx:config:request", (event) => {
    const context = event.detail.ctx;
    if (isRefresh(context)) {
      if (busyElsewhere()) event.preventDefault();
      // The address may have changed since the page was loaded, by a filter.
      else context.request.action = location.pathname + location.search;
    } else if (context.request.body instanceof FormData) {
      for (const [name, value] of [...context.request.body]) if (value === "") context.request.body.delete(name);
    }
  });

  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail.ctx.response?.status ?? 0;
    if (lost) lost.hidden = status > 0 && status < 500;
  });
  document.addEventListener("htmx:error", () => {
    if (lost) lost.hidden = false;
  });

  // Coming back to a page that was hidden: do not wait for the next turn.
  document.addEventListener("visibilitychange", () => {
    const live = find("#live[hx-get]");
    if (!document.hidden && live && window.htmx) window.htmx.trigger(live, "refresh");
  });
})();
