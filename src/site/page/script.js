(function () {
  'use strict';
  var each = function (root, selector, work) { Array.prototype.forEach.call(root.querySelectorAll(selector), work); };
  var main = document.querySelector('main');
  // The server's clock decides what "ago" means.
  var skew = Date.parse(document.getElementById('as-of').getAttribute('datetime')) - Date.now();
  var now = function () { return Date.now() + skew; };
  var ago = function (milliseconds) {
    var s = Math.max(0, Math.round(milliseconds / 1000));
    if (s < 10) { return 'just now'; }
    if (s < 90) { return s + ' s ago'; }
    if (s < 5400) { return Math.round(s / 60) + ' min ago'; }
    if (s < 129600) { return Math.round(s / 3600) + ' h ago'; }
    return Math.round(s / 86400) + ' days ago';
  };
  var clock = function (date) { return date.toLocaleTimeString(undefined, { timeStyle: 'medium' }); };
  var times = function (root) {
    each(root, 'time[datetime]', function (time) {
      var date = new Date(time.getAttribute('datetime'));
      if (isNaN(date)) { return; }
      time.title = date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
      if (time.hasAttribute('data-date')) { time.textContent = time.title; return; }
      time.textContent = time.hasAttribute('data-clock') ? clock(date) : ago(now() - date);
    });
  };

  // Over plain HTTP navigator.clipboard is missing; selecting and copying still works there.
  var copyOldWay = function (source) {
    if (source.select) {
      source.focus();
      source.select();
    } else {
      var range = document.createRange();
      range.selectNodeContents(source);
      var selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
    }
    return document.execCommand('copy');
  };
  document.addEventListener('click', function (event) {
    var button = event.target.closest ? event.target.closest('[data-copy]') : null;
    if (!button) { return; }
    var source = button.parentNode.querySelector('input, pre');
    var say = function (copied) {
      button.textContent = copied ? 'Copied' : 'Selected';
      setTimeout(function () { button.textContent = 'Copy'; }, 3000);
    };
    var text = source.value || source.textContent;
    if (!navigator.clipboard) { say(copyOldWay(source)); return; }
    navigator.clipboard.writeText(text).then(function () { say(true); }, function () { say(copyOldWay(source)); });
  });
  var prepare = function (root) {
    times(root);
    each(root, '[data-copy]', function (button) { button.hidden = false; });
  };

  // A part of the page as the server sent it, apart from relative times.
  var sources = new WeakMap();
  var source = function (node) {
    return (node.outerHTML || node.textContent).replace(/(<time[^>]*>)[^<]*/g, '$1');
  };
  var remember = function (root) {
    each(root, '[data-live]', function (region) {
      Array.prototype.forEach.call(region.children, function (child) { sources.set(child, source(child)); });
    });
  };
  remember(document);
  prepare(document);
  var openTarget = function () {
    var target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var node = target; node; node = node.parentElement) {
      if (node.tagName === 'DETAILS') { node.open = true; }
    }
    if (target) { target.scrollIntoView(); }
  };
  addEventListener('hashchange', openTarget);
  openTarget();
  setInterval(function () { times(document); }, 10000);
  if (!main.hasAttribute('data-state')) { return; }

  // Replaces what changed and keeps what a person has opened, focused or scrolled to.
  var replaceRegion = function (old, fresh) {
    var kept = {};
    var name = function (child, index) { return child.id || 'child ' + index; };
    Array.prototype.forEach.call(old.children, function (child, index) { kept[name(child, index)] = child; });
    var children = Array.prototype.map.call(fresh.children, function (child, index) {
      var before = kept[name(child, index)];
      var text = source(child);
      if (before && sources.get(before) === text) { return before; }
      var node = document.importNode(child, true);
      sources.set(node, text);
      if (before) {
        [node].concat(Array.prototype.slice.call(node.querySelectorAll('details'))).forEach(function (details) {
          if (details.tagName !== 'DETAILS' || !details.id) { return; }
          var same = document.getElementById(details.id);
          if (same && same.tagName === 'DETAILS') { details.open = same.open; }
        });
      }
      prepare(node);
      return node;
    });
    var unchanged = children.length === old.children.length && children.every(function (child, index) {
      return old.children[index] === child;
    });
    if (!unchanged) { old.replaceChildren.apply(old, children); }
  };
  var focused = function () {
    var element = document.activeElement;
    if (!element || element === document.body) { return null; }
    if (element.id) { return '#' + CSS.escape(element.id); }
    var owner = element.closest('[id]');
    if (!owner) { return null; }
    var which = element.name ? '[name="' + element.name + '"][value="' + CSS.escape(element.value) + '"]' : '';
    return '#' + CSS.escape(owner.id) + ' ' + element.tagName.toLowerCase() + which;
  };
  // The first element whose beginning can be seen: what is above it may change.
  var anchor = function () {
    var found = null;
    each(main, '[id]', function (element) {
      if (!found && element.getBoundingClientRect().top >= 0) { found = element; }
    });
    return found && scrollY > 0 ? { id: found.id, top: found.getBoundingClientRect().top } : null;
  };
  var replacePage = function (html) {
    var fresh = new DOMParser().parseFromString(html, 'text/html');
    var place = anchor();
    var focus = focused();
    document.title = fresh.title;
    document.querySelector('link[rel=icon]').href = fresh.querySelector('link[rel=icon]').getAttribute('href');
    each(document, '[data-live]', function (region) {
      var same = fresh.getElementById(region.id);
      if (same) { replaceRegion(region, same); }
    });
    main.setAttribute('data-state', fresh.querySelector('main').getAttribute('data-state'));
    var still = place && document.getElementById(place.id);
    if (still) { scrollBy(0, still.getBoundingClientRect().top - place.top); }
    if (focus && document.activeElement === document.body) {
      var again = document.querySelector(focus);
      if (again) { again.focus({ preventScroll: true }); }
    }
  };
  var etag = '';
  var failures = 0;
  var seen = function () {
    failures = 0;
    var time = document.getElementById('as-of');
    time.parentNode.classList.remove('stale');
    time.setAttribute('datetime', new Date(now()).toISOString());
    times(time.parentNode);
  };
  var missed = function () {
    failures += 1;
    if (failures > 1) { document.getElementById('as-of').parentNode.classList.add('stale'); }
  };
  var poll = function () {
    var headers = etag ? { 'If-None-Match': etag } : {};
    fetch('state/', { cache: 'no-store', credentials: 'same-origin', headers: headers }).then(function (reply) {
      if (reply.status === 304) { return null; }
      if (!reply.ok) { throw new Error(reply.status); }
      etag = reply.headers.get('ETag') || '';
      return reply.json();
    }).then(function (state) {
      if (!state) { return null; }
      state.running.forEach(function (row) {
        var card = document.getElementById('stack-' + row.stack);
        var step = card && card.querySelector('[data-step]');
        if (step && step.textContent !== row.step) { step.textContent = row.step; }
      });
      if (state.state === main.getAttribute('data-state')) { return null; }
      return fetch('./', { cache: 'no-store', credentials: 'same-origin' }).then(function (reply) {
        if (!reply.ok) { throw new Error(reply.status); }
        return reply.text();
      }).then(replacePage);
    }).then(seen, missed).then(function () {
      var running = document.querySelector('[data-step]') || main.hasAttribute('data-looking');
      setTimeout(poll, failures ? 5000 : running ? 1000 : document.hidden ? 15000 : 5000);
    });
  };
  setTimeout(poll, 1000);
}());
