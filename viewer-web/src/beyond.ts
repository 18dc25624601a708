// Where a slice of the fixed image leads out of the moving image.

import type { Triple } from './api'
import type { PlaneAxes } from './volume'

const GREY = 96 // as in the report
const NODES = 96

/**
 * Opaque grey where the moving image does not reach, clear elsewhere, the way the slice lies on the screen.
 *
 * How far each place is inside is asked at nodes and taken linear between them.
 *
 * @returns RGBA bytes, or null where the moving image reaches all of the slice.
 */
export function beyond(cameFrom: (at: Triple) => Triple, fixed: Triple, moving: Triple, plane: PlaneAxes, slice: number): Uint8ClampedArray<ArrayBuffer> | null {
  const width = fixed[plane.right], height = fixed[plane.down]
  const across = Math.min(NODES, width), along = Math.min(NODES, height)
  const inside = new Float32Array(across * along)
  const at: Triple = [0, 0, 0]
  at[plane.through] = slice
  let least = Infinity
  for (let j = 0; j < along; j++) for (let i = 0; i < across; i++) {
    at[plane.right] = across < 2 ? 0 : (i / (across - 1)) * (width - 1)
    at[plane.down] = along < 2 ? 0 : (j / (along - 1)) * (height - 1)
    const there = cameFrom(at)
    let room = Infinity
    // In parts of the image, so that a thin axis weighs as much as a long one between nodes.
    for (let a = 0; a < 3; a++) if (moving[a] > 1) room = Math.min(room, (there[a] + 0.5) / moving[a], 1 - (there[a] + 0.5) / moving[a])
    inside[j * across + i] = room
    least = Math.min(least, room)
  }
  if (least >= 0) return null
  const out = new Uint8ClampedArray(4 * width * height)
  const words = new Uint32Array(out.buffer), word = 0xff000000 | (GREY << 16) | (GREY << 8) | GREY
  for (let v = 0; v < height; v++) {
    const y = height < 2 ? 0 : (v / (height - 1)) * (along - 1), j = Math.min(Math.floor(y), Math.max(0, along - 2)), dy = y - j
    const row = (plane.flip ? height - 1 - v : v) * width, below = along < 2 ? 0 : across
    for (let u = 0; u < width; u++) {
      const x = width < 2 ? 0 : (u / (width - 1)) * (across - 1), i = Math.min(Math.floor(x), Math.max(0, across - 2)), dx = x - i
      const k = j * across + i, next = across < 2 ? 0 : 1
      const room = (inside[k] * (1 - dx) + inside[k + next] * dx) * (1 - dy) + (inside[k + below] * (1 - dx) + inside[k + below + next] * dx) * dy
      if (room < 0) words[row + u] = word
    }
  }
  return out
}
