// Where the points of the fixed image are in the moving image, by nodes (samreg/viewer/volumes.py, coarse_map).

import type { Triple } from './api'

export class Field {
  private inverse: number[][]

  /** nodes are counted (x, y, z); values hold (x, y, z) of the moving image for each, x fastest. */
  constructor(private nodes: Triple, private values: Float32Array, private size: Triple, private linear: number[][]) {
    this.inverse = inverted(linear)
  }

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

  /** Fixed index of a moving index, found step by step. */
  toFixed(at: Triple): Triple {
    let x = applied(this.inverse, at.map((v, a) => v - this.linear[a][3]) as Triple)
    for (let step = 0; step < 12; step++) {
      const there = this.toMoving(x)
      const back = applied(this.inverse, at.map((v, a) => v - there[a]) as Triple)
      x = x.map((v, a) => Math.min(this.size[a] - 1, Math.max(0, v + 0.8 * back[a]))) as Triple
    }
    return x
  }
}

function applied(matrix: number[][], v: Triple): Triple {
  return matrix.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]) as Triple
}

function inverted(m: number[][]): number[][] {
  const [[a, b, c], [d, e, f], [g, h, i]] = m
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) || 1
  return [
    [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
    [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
    [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
  ]
}
