// Regions: masks in boxes, their outlines on a slice, and their bits as text.

import type { PackedRegion, Triple } from './api'
import type { PlaneAxes } from './volume'

async function through(data: Uint8Array, stream: CompressionStream | DecompressionStream): Promise<Uint8Array> {
  const out = new Blob([data as BlobPart]).stream().pipeThrough(stream as ReadableWritablePair<Uint8Array, BlobPart>)
  return new Uint8Array(await new Response(out).arrayBuffer())
}

/** Booleans of a box; start and shape are (x, y, z). */
export class Region {
  private outlines = new Map<string, { line: Path2D; area: Path2D }>()
  private middles = new Map<number, Triple>()

  constructor(public start: Triple, public shape: Triple, public bits: Uint8Array) {}

  static async unpack(packed: PackedRegion): Promise<Region> {
    const raw = Uint8Array.from(atob(packed.bits), (c) => c.charCodeAt(0))
    const bytes = await through(raw, new DecompressionStream('deflate'))
    const shape = [...packed.shape].reverse() as Triple
    const bits = new Uint8Array(shape[0] * shape[1] * shape[2])
    for (let i = 0; i < bits.length; i++) bits[i] = (bytes[i >> 3] >> (i & 7)) & 1
    return new Region([...packed.start].reverse() as Triple, shape, bits)
  }

  async pack(): Promise<PackedRegion> {
    const bytes = new Uint8Array(Math.ceil(this.bits.length / 8))
    for (let i = 0; i < this.bits.length; i++) bytes[i >> 3] |= this.bits[i] << (i & 7)
    const packed = await through(bytes, new CompressionStream('deflate'))
    let text = ''
    for (let i = 0; i < packed.length; i += 32768) text += String.fromCharCode(...packed.subarray(i, i + 32768))
    return { start: [...this.start].reverse() as Triple, shape: [...this.shape].reverse() as Triple, bits: btoa(text) }
  }

  clone(): Region { return new Region([...this.start], [...this.shape], this.bits.slice()) }

  has(x: number, y: number, z: number): boolean {
    const a = x - this.start[0], b = y - this.start[1], c = z - this.start[2]
    const [nx, ny, nz] = this.shape
    return a >= 0 && b >= 0 && c >= 0 && a < nx && b < ny && c < nz && this.bits[a + nx * (b + ny * c)] === 1
  }

  get count(): number { let n = 0; for (const bit of this.bits) n += bit; return n }

  /** The voxel (x, y, z) in the middle of the slice that holds most of the region, across an axis. */
  middle(axis: number): Triple {
    const known = this.middles.get(axis)
    if (known) return [...known]
    const areas = new Array<number>(this.shape[axis]).fill(0)
    const sums = areas.map(() => [0, 0, 0])
    let i = 0
    for (let z = 0; z < this.shape[2]; z++) for (let y = 0; y < this.shape[1]; y++) for (let x = 0; x < this.shape[0]; x++, i++) {
      if (!this.bits[i]) continue
      const at = [x, y, z], k = at[axis]
      areas[k]++
      for (let a = 0; a < 3; a++) sums[k][a] += at[a]
    }
    const best = areas.indexOf(Math.max(...areas))
    const middle = sums[best].map((s, a) => Math.round(s / Math.max(1, areas[best])) + this.start[a]) as Triple
    this.middles.set(axis, middle)
    return [...middle]
  }

  cuts(plane: PlaneAxes, k: number): boolean {
    return k >= this.start[plane.through] && k < this.start[plane.through] + this.shape[plane.through]
  }

  changed(): void { this.outlines.clear(); this.middles.clear() }

  /** Outline and area on a slice, in voxels along right and down; the centre of voxel i is at i. */
  paths(plane: PlaneAxes, k: number): { line: Path2D; area: Path2D } {
    const key = `${plane.name}${k}`
    const known = this.outlines.get(key)
    if (known) return known
    const { right, down, through: across } = plane
    const width = this.shape[right], height = this.shape[down]
    const stride = [1, this.shape[0], this.shape[0] * this.shape[1]]
    const base = (k - this.start[across]) * stride[across]
    const at = (u: number, v: number): number =>
      u < 0 || v < 0 || u >= width || v >= height ? 0 : this.bits[base + u * stride[right] + v * stride[down]]
    const line = new Path2D(), area = new Path2D(), lines = new Lines()
    const u0 = this.start[right], v0 = this.start[down]
    for (let v = -1; v < height; v++) {
      for (let u = -1; u < width; u++) marched(lines, u0 + u, v0 + v, at(u, v), at(u + 1, v), at(u + 1, v + 1), at(u, v + 1))
      if (v < 0) continue
      for (let u = 0; u < width; u++) {
        if (!at(u, v)) continue
        let end = u
        while (end < width && at(end, v)) end++
        area.rect(u0 + u - 0.5, v0 + v - 0.5, end - u, 1)
        u = end
      }
    }
    lines.drawn(line)
    const made = { line, area }
    this.outlines.set(key, made)
    return made
  }

  /** Set or clear the voxels of a disc on a slice; the box grows with it, within the image. */
  paint(plane: PlaneAxes, k: number, u: number, v: number, radius: number, aspect: number, on: boolean, limit: Triple): void {
    const ru = radius, rv = radius / aspect
    const low: Triple = [0, 0, 0], high: Triple = [0, 0, 0]
    low[plane.right] = Math.max(0, Math.ceil(u - ru)); high[plane.right] = Math.min(limit[plane.right] - 1, Math.floor(u + ru))
    low[plane.down] = Math.max(0, Math.ceil(v - rv)); high[plane.down] = Math.min(limit[plane.down] - 1, Math.floor(v + rv))
    low[plane.through] = high[plane.through] = k
    if (on) this.grow(low, high)
    const stride = [1, this.shape[0], this.shape[0] * this.shape[1]]
    for (let j = low[plane.down]; j <= high[plane.down]; j++) for (let i = low[plane.right]; i <= high[plane.right]; i++) {
      if (((i - u) / ru) ** 2 + ((j - v) / rv) ** 2 > 1) continue
      const at = [0, 0, 0]
      at[plane.right] = i; at[plane.down] = j; at[plane.through] = k
      let index = 0, inside = true
      for (let a = 0; a < 3; a++) {
        const local = at[a] - this.start[a]
        inside = inside && local >= 0 && local < this.shape[a]
        index += local * stride[a]
      }
      if (inside) this.bits[index] = on ? 1 : 0
    }
    this.changed()
  }

  private grow(low: Triple, high: Triple): void {
    const start = this.start.map((s, a) => Math.min(s, low[a])) as Triple
    const stop = this.start.map((s, a) => Math.max(s + this.shape[a], high[a] + 1))
    const shape = stop.map((s, a) => s - start[a]) as Triple
    if (shape.every((n, a) => n === this.shape[a])) return
    const bits = new Uint8Array(shape[0] * shape[1] * shape[2])
    let i = 0
    for (let z = 0; z < this.shape[2]; z++) for (let y = 0; y < this.shape[1]; y++) {
      const row = this.start[0] - start[0] + shape[0] * (y + this.start[1] - start[1] + shape[1] * (z + this.start[2] - start[2]))
      bits.set(this.bits.subarray(i, i + this.shape[0]), row)
      i += this.shape[0]
    }
    this.start = start; this.shape = shape; this.bits = bits
  }
}

/** The lines of marching squares in the cell whose corner is (u, v): corners a, b, c, d go round clockwise. */
function marched(lines: Lines, u: number, v: number, a: number, b: number, c: number, d: number): void {
  const sum = a + b + c + d
  if (sum === 0 || sum === 4) return
  const ends: [number, number][] = []
  if (a !== b) ends.push([u + 0.5, v])
  if (b !== c) ends.push([u + 1, v + 0.5])
  if (c !== d) ends.push([u + 0.5, v + 1])
  if (d !== a) ends.push([u, v + 0.5])
  for (let i = 0; i + 1 < ends.length; i += 2) lines.add(ends[i], ends[i + 1])
}

/** Short lines that meet at their ends, joined to rings: thousands of lines on their own take ten times as long to draw. */
class Lines {
  private ends: [number, number][] = [] // two for each line
  private meeting = new Map<number, number[]>() // place -> ends that are there

  add(from: [number, number], to: [number, number]): void {
    for (const end of [from, to]) {
      const key = place(end)
      const here = this.meeting.get(key)
      if (here) here.push(this.ends.length); else this.meeting.set(key, [this.ends.length])
      this.ends.push(end)
    }
  }

  drawn(path: Path2D): void {
    const done = new Uint8Array(this.ends.length >> 1)
    for (let first = 0; first < done.length; first++) {
      if (done[first]) continue
      let at = 2 * first + 1, [x, y] = this.ends[2 * first], [dx, dy] = [0, 0]
      path.moveTo(x, y)
      for (done[first] = 1; ; ) {
        const [nx, ny] = this.ends[at]
        if ((nx - x) * dy !== (ny - y) * dx) path.lineTo(x, y) // only where it turns
        dx = nx - x; dy = ny - y; x = nx; y = ny
        const next = this.meeting.get(place([x, y]))!.find((end) => !done[end >> 1])
        if (next === undefined) break
        done[next >> 1] = 1
        at = next ^ 1
      }
      path.lineTo(x, y)
      path.closePath()
    }
  }
}

function place([x, y]: [number, number]): number { return 2 * x + 2 + 131072 * (2 * y + 2) }
