/* What the pages gain by scripts; everything works without. */
(() => {
    "use strict";

    // --- Menus close when one clicks elsewhere or presses Escape ------------------------------------------
    const menus = () => document.querySelectorAll("details.eb-user[open]");
    document.addEventListener("click", (event) => {
        menus().forEach((menu) => {
            if (!menu.contains(event.target)) menu.open = false;
        });
    });
    document.addEventListener("keydown", (event) => {
        if (event.key !== "Escape") return;
        menus().forEach((menu) => {
            menu.open = false;
            menu.querySelector("summary").focus();
        });
    });

    // --- A link that opens a dialog of the page instead of a page of its own ------------------------------
    document.addEventListener("click", (event) => {
        const link = event.target.closest("a[data-dialog]");
        const dialog = link && document.getElementById(link.dataset.dialog);
        if (dialog && typeof dialog.showModal === "function" && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
            event.preventDefault();
            dialog.showModal();
        }
        const close = event.target.closest("[data-close]");
        if (close) {
            event.preventDefault();
            close.closest("dialog").close();
        }
    });

    // --- A form is sent once ------------------------------------------------------------------------------
    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (event.defaultPrevented || form.method !== "post") return;
        if (form.dataset.sent) event.preventDefault();
        form.dataset.sent = "yes";
    });
    window.addEventListener("pageshow", () => {
        document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
    });

    // --- What the page says is said aloud too -------------------------------------------------------------
    const region = document.getElementById("messages");
    if (region && region.childElementCount) {
        setTimeout(() => region.replaceChildren(...[...region.childNodes].map((node) => node.cloneNode(true))), 150);
    }

    // --- htmx: what went wrong on the way is said, not swallowed ------------------------------------------
    function say(text) {
        const place = document.getElementById("refusal");
        if (!place) return;
        const note = document.createElement("p");
        note.className = "eb-note";
        note.dataset.tone = "bad";
        note.textContent = text;
        place.replaceChildren(note);
        place.scrollIntoView({ block: "center" });
    }
    document.addEventListener("htmx:beforeRequest", () => document.getElementById("refusal")?.replaceChildren());
    document.addEventListener("htmx:responseError", () =>
        say("Something went wrong on our side. Nothing was half saved: reload the page to see how it stands, then try again."));
    document.addEventListener("htmx:sendError", () =>
        say("There is no connection. Nothing was sent: try again when you are online."));

    // --- The back-office follows the choice of light or dark ----------------------------------------------
    const chosen = document.documentElement.dataset.theme;
    if (chosen) {
        try {
            localStorage.setItem("_x_adminTheme", JSON.stringify(chosen));
        } catch {
            // A browser that stores nothing keeps the back-office's own choice.
        }
    }
})();
