/* Countdowns go on in the browser, each minute; the server says the same words (disputes/admin/clocks.py). */
(() => {
    "use strict";

    const MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

    function words(seconds) {
        const days = Math.floor(seconds / DAY);
        const hours = Math.floor(seconds / HOUR) % 24;
        const minutes = Math.floor(seconds / MINUTE) % 60;
        if (seconds < MINUTE) return "less than 1 min";
        if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
        if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
        return `${minutes} min`;
    }

    function tick() {
        document.querySelectorAll(".dsp-clock[data-due]").forEach((box) => {
            const left = Math.trunc((Date.parse(box.dataset.due) - Date.now()) / 1000);
            const late = left < 0;
            const text = late ? `Overdue ${words(-left)}` : `${words(left)} left`;
            const shown = box.querySelector("[data-words]");
            if (shown.textContent === text) return;
            shown.textContent = text;
            box.dataset.tone = late ? "bad" : left < 4 * HOUR ? "warn" : "neutral";
            box.querySelector(".material-symbols-outlined").textContent = late ? "alarm" : "timer";
        });
    }

    document.addEventListener("DOMContentLoaded", tick);
    setInterval(tick, MINUTE * 1000);
})();
