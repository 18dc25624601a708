// What is open and what is shown; every change ends in one redraw.

import type { Answer, Job, PairRow, Scene, Side, Triple } from './api'
import type { Field } from './field'
import { applied, inverted, product } from './matrix'
import { Region } from './region'
import { PLANES, type PlaneAxes, type Volume } from './volume'

export type Tool = 'look' | 'window' | 'point' | 'box' | 'brush' | 'erase'
export type Mode = 'alone' | 'swipe' | 'blend' | 'checkerboard' | 'difference' | 'flicker'
/** What the third image shows: the result, the moving image before it, or the result that is not saved yet. */
export type Shown = 'warped' | 'before' | 'new'

export interface Pair extends PairRow { regions: Record<Side, Region> }
export interface Proposal { answer: Answer; side: Side; regions: Partial<Record<Side, Region>> }
export interface Brush { side: Side; id: number | null; region: Region }

export class State {
  plane: PlaneAxes
  cursor: Triple
  moving: Triple
  tool: Tool = 'look'
  mode: Mode = 'alone'
  shown: Shown = 'warped'
  outlines = true
  jacobian = false
  grid = false
  threeD = false
  opacity = 0.5
  swipe = 0.5
  flick = false
  zoom = 1
  pan: [number, number] = [0, 0] // mm, to the right and down
  windows: Record<Side, [number, number]>
  volumes = new Map<string, Volume>()
  field: Field
  newField: Field | null = null
  pairs: Pair[] = []
  /** Dice before and after registration of each pair's structure, as it was when the run was opened. */
  overlaps = new Map<number, [number, number | null]>()
  /** Whether they are being computed. */
  overlapping = true
  hover: number | null = null
  /** Whether the pair under the pointer was pointed at in the table: images go to it while the pointer is there. */
  peek = false
  selected: number | null = null
  order = 'use'
  best = 10
  epsilon = 0
  all = false
  here = false
  proposal: Proposal | null = null
  brush: Brush | null = null
  /** Of the brush, in voxels. */
  radius: number
  /** Voxels a step of its slider: a photograph has many more than a slice of a volume. */
  readonly brushUnit: number
  job: Job
  busy = ''
  /** What `candidates` found last: every image and the table ask for it in each drawing. */
  private known: { pairs: Pair[] | null; key: string; rows: Pair[] } = { pairs: null, key: '', rows: [] }
  /** Fixed to moving indices where nothing moves: both in the same world. */
  private still: number[][]

  constructor(public scene: Scene, field: Field) {
    this.field = field
    this.plane = PLANES[scene.fixed.plane]
    this.cursor = middle(scene.fixed.shape)
    this.moving = field.toMoving(this.cursor)
    this.windows = { fixed: [...scene.fixed.window], moving: [...scene.moving.window] }
    this.job = scene.job
    this.brushUnit = Math.max(1, Math.round(Math.max(...scene.fixed.shape) / 400))
    this.radius = 6 * this.brushUnit
    this.still = product(inverted(scene.moving.matrix), scene.fixed.matrix)
  }

  size(side: Side): Triple {
    const [z, y, x] = this.scene[side].shape
    return [x, y, z]
  }

  /** Looks at a point of the fixed image; the moving image follows. */
  lookAt(at: Triple): void {
    this.cursor = clipped(at, this.size('fixed'))
    this.moving = this.activeField.toMoving(this.cursor)
  }

  /** Looks at a point of the moving image; the fixed image follows. */
  lookAtMoving(at: Triple): void {
    this.moving = clipped(at, this.size('moving'))
    this.cursor = this.activeField.toFixed(this.moving)
  }

  /** Where a voxel of an image on the fixed grid came from, in indices of the moving image. */
  cameFrom(name: 'warped' | 'before' | 'new', at: Triple): Triple {
    if (name === 'before') return applied(this.still, at)
    return (name === 'new' && this.newField ? this.newField : this.field).toMoving(at)
  }

  get activeField(): Field { return this.shown === 'new' && this.newField ? this.newField : this.field }

  slice(side: Side): number {
    const a = this.plane.through
    return Math.min(this.size(side)[a] - 1, Math.max(0, Math.round((side === 'fixed' ? this.cursor : this.moving)[a])))
  }

  /** The slice on the screen: where the one that is looked at does not cut the pair pointed at in the table, one that does. */
  seen(side: Side): number {
    const at = this.slice(side), region = this.pair(this.hover)?.regions[side], across = this.plane.through
    return !this.peek || !region || region.cuts(this.plane, at) ? at : region.middle(across)[across]
  }

  used(pair: Pair): boolean { return pair.keep && pair.confidence > 0 && !pair.background }

  /** Pairs that the filters let through, in the chosen order, before "best" cuts them off. */
  candidates(): Pair[] {
    const key = [this.all, this.epsilon, this.here, this.order, this.plane.name, this.slice('fixed'), this.slice('moving')].join()
    if (this.known.pairs !== this.pairs || this.known.key !== key) this.known = { pairs: this.pairs, key, rows: this.sorted() }
    return this.known.rows
  }

  private sorted(): Pair[] {
    const rows = this.pairs.filter((p) => (this.all || this.used(p)) && p.similarity >= this.epsilon && (!this.here || this.cut(p)))
    // In the order of the report: structures that go through many slices, with all their pairs, come first.
    const weight = new Map<number, number>()
    for (const p of this.pairs) if (this.used(p)) weight.set(p.structure, (weight.get(p.structure) ?? 0) + p.confidence)
    const use = (p: Pair): number => weight.get(p.structure) ?? 0
    const by: Record<string, (a: Pair, b: Pair) => number> = {
      use: (a, b) => Number(this.used(b)) - Number(this.used(a)) || Number(b.given) - Number(a.given) || use(b) - use(a) || b.confidence - a.confidence || b.similarity - a.similarity,
      similarity: (a, b) => b.similarity - a.similarity,
      size: (a, b) => b.fixed.size - a.fixed.size,
      id: (a, b) => a.id - b.id,
      name: (a, b) => (a.name || '\uffff').localeCompare(b.name || '\uffff') || a.id - b.id,
    }
    return rows.sort((a, b) => by[this.order](a, b) || a.id - b.id)
  }

  /** Whether a pair is seen on the slices that are shown. */
  cut(pair: Pair): boolean {
    return pair.regions.fixed.cuts(this.plane, this.slice('fixed')) || pair.regions.moving.cuts(this.plane, this.slice('moving'))
  }

  listed(): Pair[] {
    const rows = this.candidates()
    if (this.best >= rows.length) return rows
    const listed = rows.slice(0, this.best)
    const chosen = this.pairs.find((p) => p.id === this.selected)
    return chosen && !listed.includes(chosen) ? [...listed, chosen] : listed
  }

  pair(id: number | null): Pair | undefined { return id === null ? undefined : this.pairs.find((p) => p.id === id) }

  /** Goes to a pair: the fixed image to its region, the moving image to its partner. */
  goTo(pair: Pair): void {
    const a = this.plane.through
    const here = this.slice('fixed'), there = this.slice('moving')
    const f = pair.regions.fixed, m = pair.regions.moving
    this.cursor = f.middle(a)
    this.moving = m.middle(a)
    // A region that is cut already is looked at where it is.
    if (f.cuts(this.plane, here) && m.cuts(this.plane, there)) { this.cursor[a] = here; this.moving[a] = there }
  }

  async take(rows: PairRow[]): Promise<void> {
    const fresh = await Promise.all(rows.map(async (row) => ({
      ...row, regions: { fixed: await Region.unpack(row.fixed), moving: await Region.unpack(row.moving) },
    })))
    const ids = new Set(rows.map((row) => row.id))
    this.pairs = [...this.pairs.filter((p) => !ids.has(p.id)), ...fresh].sort((a, b) => a.id - b.id)
  }
}

export function middle(shape: Triple): Triple {
  const [z, y, x] = shape
  return [(x - 1) / 2, (y - 1) / 2, Math.floor(z / 2)]
}

function clipped(at: Triple, size: Triple): Triple {
  return at.map((v, a) => Math.min(size[a] - 1, Math.max(0, v))) as Triple
}
