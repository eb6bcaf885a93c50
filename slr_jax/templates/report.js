'use strict';

// --- Tables that are sorted by a click on a header

function sortTable(header) {
  const table = header.closest('table');
  const column = [...header.parentNode.children].indexOf(header);
  const direction = header.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
  for (const other of header.parentNode.children) other.removeAttribute('aria-sort');
  header.setAttribute('aria-sort', direction);
  const sign = direction === 'ascending' ? 1 : -1;
  const valueOf = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
  const isNumeric = header.classList.contains('number');
  const compare = isNumeric ? (a, b) => a - b : (a, b) => a.localeCompare(b);
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => sign * compare(valueOf(a), valueOf(b)));
  table.tBodies[0].append(...rows);
}

for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => sortTable(button.parentNode));
}

// --- Clips that play

const SIZE = 300;
const MISSING = -32768;
const clips = JSON.parse(document.getElementById('clips').textContent);
const speed = document.getElementById('speed');
const playsOnce = matchMedia('(prefers-reduced-motion: reduce)');

function decode(text) {
  return new Int16Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}

function showClip(element, clip) {
  const coordinates = decode(clip.points);
  const numPoints = coordinates.length / 2 / clip.frames.length;
  const svg = element.querySelector('svg.figure');
  const [button, slider, output] = ['button', 'input', 'output'].map((name) => element.querySelector(name));
  const [left, top, width, height] = clip.view;
  const scale = SIZE / Math.max(width, height);
  const shift = [(SIZE - width * scale) / 2, (SIZE - height * scale) / 2];
  let current = 0;
  let timer = 0;

  function place(frame, point) {
    const start = 2 * (frame * numPoints + point);
    if (coordinates[start] === MISSING) return null;
    const x = shift[0] + (coordinates[start] - left) * scale;
    const y = shift[1] + (coordinates[start + 1] - top) * scale;
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  }

  function draw(frame) {
    current = frame;
    for (const path of svg.querySelectorAll('path')) {
      const group = clips.groups[path.dataset.group];
      let d = '';
      if (path.classList.contains('bones')) {
        for (const [a, b] of group.bones) {
          const [from, to] = [place(frame, a), place(frame, b)];
          if (from && to) d += `M${from}L${to}`;
        }
      } else {
        // A length of next to nothing, whose ends are drawn.
        for (const point of group.points) d += place(frame, point) ? `M${place(frame, point)}h.01` : '';
      }
      path.setAttribute('d', d);
    }
    slider.value = frame;
    const text = `${clip.frames[frame]} of ${clip.length}`;
    slider.setAttribute('aria-valuetext', `frame ${text}`);
    output.textContent = text;
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    button.textContent = 'Play';
  }

  function advance() {
    const next = (current + 1) % clip.frames.length;
    draw(next);
    if (playsOnce.matches && next === clip.frames.length - 1) stop();
  }

  function play() {
    const framesPerStep = (clip.length - 1) / Math.max(1, clip.frames.length - 1);
    timer = setInterval(advance, (1000 * framesPerStep) / Number(speed.value));
    button.textContent = 'Pause';
  }

  button.addEventListener('click', () => (timer ? stop() : play()));
  slider.addEventListener('input', () => {
    stop();
    draw(Number(slider.value));
  });
  speed.addEventListener('change', () => {
    if (!timer) return;
    stop();
    play();
  });
  draw(Math.floor(clip.frames.length / 2));
}

document.querySelectorAll('.clip').forEach((element, number) => showClip(element, clips.clips[number]));
