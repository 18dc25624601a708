// Where the points of the fixed image are in the moving image, by nodes (samreg/viewer/volumes.py, coarse_map).

import type { Triple } from './api'
import { applied, inverted } from './matrix'

const NEAR = 0.05 // mm or pixels: less than a caption says

export class Field {
  /** nodes are counted (x, y, z); values hold (x, y, z) of the moving image for each, x fastest; spacing is of that image. */
  constructor(private nodes: Triple, private values: Float32Array, private size: Triple, private spacing: Triple) {}

  /** Moving index of a fixed index; beyond the image that of the nearest edge. */
  toMoving(at: Triple): Triple {
    const low = [0, 0, 0], share = [0, 0, 0]
    for (let a = 0; a < 3; a++) {
      const n = this.nodes[a]
      const s = n < 2 ? 0 : Math.min(n - 1, Math.max(0, (at[a] / Math.max(1, this.size[a] - 1)) * (n - 1)))
      low[a] = Math.min(Math.floor(s), Math.max(0, n - 2))
      share[a] = s - low[a]
    }
    const out: Triple = [0, 0, 0]
    for (let corner = 0; corner < 8; corner++) {
      let weight = 1
      const at3 = [0, 0, 0]
      for (let a = 0; a < 3; a++) {
        const up = (corner >> a) & 1
        weight *= up ? share[a] : 1 - share[a]
        at3[a] = Math.min(low[a] + up, this.nodes[a] - 1)
      }
      if (!weight) continue
      const i = 3 * (at3[0] + this.nodes[0] * (at3[1] + this.nodes[1] * at3[2]))
      for (let a = 0; a < 3; a++) out[a] += weight * this.values[i + a]
    }
    return out
  }

  /**
   * Fixed index of a moving index, or that whose moving index is nearest to it.
   *
   * From the node that is taken nearest to it, by Newton's steps, halved where they lead away: between people a field
   * bends so much that plain iteration ends centimetres off.
   */
  toFixed(at: Triple): Triple {
    const distance = (m: Triple): number => Math.hypot(...m.map((v, a) => (v - at[a]) * this.spacing[a]))
    let x = this.nearestNode(at), m = this.toMoving(x), far = distance(m)
    for (let step = 0; step < 20 && far > NEAR; step++) {
      const way = applied(inverted(this.slope(x)), at.map((v, a) => v - m[a]) as Triple)
      let nearer = false
      for (let share = 1; share > 0.05 && !nearer; share /= 2) {
        const y = x.map((v, a) => Math.min(this.size[a] - 1, Math.max(0, v + share * way[a]))) as Triple
        const there = this.toMoving(y), left = distance(there)
        if (left < far) { x = y; m = there; far = left; nearer = true }
      }
      if (!nearer) break
    }
    return x
  }

  private nearestNode(at: Triple): Triple {
    const [nx, ny, nz] = this.nodes, { values, spacing } = this
    let best = 0, least = Infinity
    for (let i = 0, n = nx * ny * nz; i < n; i++) {
      const a = (values[3 * i] - at[0]) * spacing[0], b = (values[3 * i + 1] - at[1]) * spacing[1], c = (values[3 * i + 2] - at[2]) * spacing[2]
      const far = a * a + b * b + c * c
      if (far < least) { least = far; best = i }
    }
    const node = [best % nx, Math.floor(best / nx) % ny, Math.floor(best / (nx * ny))]
    return node.map((i, a) => (this.nodes[a] < 2 ? 0 : (i / (this.nodes[a] - 1)) * (this.size[a] - 1))) as Triple
  }

  /** How moving indices change with fixed ones, one column an axis. */
  private slope(x: Triple): number[][] {
    const columns = [0, 1, 2].map((a) => {
      if (this.nodes[a] < 2) return [0, 1, 2].map((i) => Number(i === a))
      const low: Triple = [...x], high: Triple = [...x]
      low[a] = Math.max(0, x[a] - 0.5); high[a] = Math.min(this.size[a] - 1, x[a] + 0.5)
      const from = this.toMoving(low), to = this.toMoving(high)
      return to.map((v, i) => (v - from[i]) / (high[a] - low[a]))
    })
    return [0, 1, 2].map((i) => columns.map((column) => column[i]))
  }
}
