// Two slides side by side that move in step, in micrometres, whatever their scanners' scales.

/** Couples two `SlideView`s; while locked, each follows the other at the offset they had. */
export class Pair {
  constructor(left, right) {
    this.locked = false;
    this.following = false;
    this.left = left;
    this.right = right;
    left.addEventListener("change", () => this.#follow(left, right, 1));
    right.addEventListener("change", () => this.#follow(right, left, -1));
  }

  /** Holds the two together as they lie now, or lets them go. */
  lock(locked) {
    this.locked = locked && Boolean(this.left.info && this.right.info);
    if (!this.locked) return;
    this.atLock = new Map([this.left, this.right].map((view) => [view, standing(view)]));
  }

  #follow(leader, follower, sign) {
    if (!this.locked || this.following || !follower.info) return;
    this.following = true;
    const [ledAt, followedAt] = [this.atLock.get(leader), this.atLock.get(follower)];
    follower.setView(follow(standing(leader), ledAt, followedAt, follower.mpp), { still: true });
    this.following = false;
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
