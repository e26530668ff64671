// Two slides side by side that move in step, in micrometres, whatever their scanners' scales.

/** Share of a screen pixel by which two views may differ and still be the same. */
const TOUCH = 1e-3;

/** Couples two `SlideView`s; while locked, each follows the other at the offset they had. */
export class Pair {
  constructor(left, right) {
    this.locked = false;
    this.moving = false;
    this.led = new Map();
    this.left = left;
    this.right = right;
    left.addEventListener("change", () => this.#follow(left, right));
    right.addEventListener("change", () => this.#follow(right, left));
  }

  /** Holds the two together as they lie now, or lets them go. */
  lock(locked) {
    this.locked = locked && Boolean(this.left.info && this.right.info);
    if (!this.locked) return;
    this.atLock = new Map([this.left, this.right].map((view) => [view, standing(view)]));
  }

  #follow(leader, follower) {
    if (!this.locked || this.moving || !follower.info) return;
    const now = standing(leader);
    // Where it was led isn't where it leads: the other would be stopped on its way.
    if (isSame(now, this.led.get(leader))) return;
    const [ledAt, followedAt] = [this.atLock.get(leader), this.atLock.get(follower)];
    this.moving = true;
    follower.setView(follow(now, ledAt, followedAt, follower.mpp), { still: true });
    this.moving = false;
    this.led.set(follower, standing(follower));
  }
}

/**
 * Where a view belongs whose leader moved: the same way over the screen.
 *
 * @param now the leader's standing; `ledAt` and `followedAt` are both views' standings at the lock.
 */
export function follow(now, ledAt, followedAt, mpp) {
  const turn = ((ledAt.rotation - followedAt.rotation) * Math.PI) / 180;
  const zoom = followedAt.umPerPx / ledAt.umPerPx;
  const [right, down] = [(now.x - ledAt.x) * zoom, (now.y - ledAt.y) * zoom];
  return {
    x: (followedAt.x + right * Math.cos(turn) - down * Math.sin(turn)) / mpp,
    y: (followedAt.y + right * Math.sin(turn) + down * Math.cos(turn)) / mpp,
    umPerPx: now.umPerPx * zoom,
    rotation: (now.rotation + followedAt.rotation - ledAt.rotation + 360) % 360,
  };
}

/** Where a view stands now: its middle in micrometres, scale and rotation. */
function standing(view) {
  const viewport = view.osd.viewport;
  const middle = viewport.viewportToImageCoordinates(viewport.getCenter(true));
  return {
    x: middle.x * view.mpp,
    y: middle.y * view.mpp,
    umPerPx: view.umPerPx,
    rotation: viewport.getRotation(true),
  };
}

function isSame(a, b) {
  return b !== undefined && Object.keys(a).every((key) => Math.abs(a[key] - b[key]) <= TOUCH * a.umPerPx);
}
