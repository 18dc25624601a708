// One image on the screen: a slice, and what is drawn over it.

import type { Side, SideInfo, Triple } from './api'
import type { Field } from './field'
import type { Region } from './region'
import type { Pair, State } from './state'
import { beyond } from './beyond'
import { brightness, slicePixels, type PlaneAxes, type Volume } from './volume'

export type Role = 'fixed' | 'moving' | 'result'
const BEYOND = 'grey: outside the moving image'
const MASKS = 32
const FOLDED = -32768, NO_BODY = 32767 // samreg/viewer/volumes.py
/** Slices change with every step: drawing them in memory is fast on every machine, also on one without a graphics card. */
export const ON_CPU: CanvasRenderingContext2DSettings = { willReadFrequently: true }
/** What is on the screen has no holes: the page need not be drawn below it, which software GL takes milliseconds for. */
const OPAQUE: CanvasRenderingContext2DSettings = { ...ON_CPU, alpha: false }

interface Place { scale: number; x: number; y: number; sx: number; sy: number }

export class Panel {
  readonly root = document.createElement('figure')
  readonly canvas = document.createElement('canvas')
  private caption = document.createElement('figcaption')
  private notice = document.createElement('p')
  private pixels = document.createElement('canvas')
  private over = document.createElement('canvas')
  private grey = document.createElement('canvas')
  private greyOf = ''
  /** What was grey on the slices seen last: null where nothing was. */
  private masks = new Map<string, ImageData | null>()
  private greyField: Field | null = null
  private data: ImageData | null = null
  /** CSS pixels of the canvas: kept, because asking for them after a caption has changed lays out the whole page. */
  private box: [number, number] | null = null
  private anyGrey = false
  drag: { kind: string; from: [number, number]; to: [number, number] } | null = null
  pointer: [number, number] | null = null

  constructor(readonly role: Role, private state: State, resized: () => void) {
    this.root.className = 'panel'
    this.root.dataset.role = role
    this.canvas.tabIndex = 0
    this.canvas.setAttribute('role', 'img')
    this.notice.className = 'notice'
    this.root.append(this.canvas, this.notice, this.caption)
    new ResizeObserver(() => { this.box = [this.canvas.clientWidth, this.canvas.clientHeight]; resized() }).observe(this.canvas)
  }

  get side(): Side { return this.role === 'moving' ? 'moving' : 'fixed' }
  get info(): SideInfo { return this.state.scene[this.side] }
  private get plane(): PlaneAxes { return this.state.plane }
  private get slice(): number { return this.state.seen(this.side) }
  private get spacing(): [number, number] { return [this.info.spacing[this.plane.right], this.info.spacing[this.plane.down]] }
  get aspect(): number { return this.spacing[1] / this.spacing[0] }

  /** Millimetres that the widest and the highest image of the scene need: all images have one scale. */
  private get needed(): [number, number] {
    const sides: Side[] = ['fixed', 'moving']
    const along = (a: number): number => Math.max(...sides.map((s) => this.state.size(s)[a] * this.state.scene[s].spacing[a]))
    return [along(this.plane.right), along(this.plane.down)]
  }

  private place(): Place {
    const [w, h] = this.needed
    const scale = Math.min(this.canvas.width / w, this.canvas.height / h) * this.state.zoom
    const size = this.state.size(this.side)
    const sx = this.spacing[0] * scale, sy = this.spacing[1] * scale
    const x = this.canvas.width / 2 + this.state.pan[0] * scale - (size[this.plane.right] / 2) * sx
    const y = this.canvas.height / 2 + this.state.pan[1] * scale - (size[this.plane.down] / 2) * sy
    return { scale, x, y, sx, sy }
  }

  /** Canvas pixels of voxel coordinates along right and down. */
  private toCanvas(u: number, v: number): [number, number] {
    const p = this.place(), n = this.state.size(this.side)[this.plane.down]
    return [p.x + (u + 0.5) * p.sx, p.y + ((this.plane.flip ? n - 1 - v : v) + 0.5) * p.sy]
  }

  /** Voxel coordinates along right and down of a pointer event. */
  toVoxel(event: { clientX: number; clientY: number }): [number, number] {
    const box = this.canvas.getBoundingClientRect(), p = this.place()
    const x = ((event.clientX - box.left) / box.width) * this.canvas.width
    const y = ((event.clientY - box.top) / box.height) * this.canvas.height
    const n = this.state.size(this.side)[this.plane.down]
    const v = (y - p.y) / p.sy - 0.5
    return [(x - p.x) / p.sx - 0.5, this.plane.flip ? n - 1 - v : v]
  }

  /** The whole index (x, y, z) with these coordinates on the slice that is shown. */
  index(u: number, v: number): Triple {
    const at: Triple = [0, 0, 0]
    at[this.plane.right] = u; at[this.plane.down] = v; at[this.plane.through] = this.slice
    return at
  }

  inside(u: number, v: number): boolean {
    const size = this.state.size(this.side)
    return u >= -0.5 && v >= -0.5 && u < size[this.plane.right] - 0.5 && v < size[this.plane.down] - 0.5
  }

  /** The smallest listed region at a place, which is the one that is meant. */
  regionAt(u: number, v: number): Pair | null {
    const [x, y, z] = this.index(Math.round(u), Math.round(v)) as Triple
    const hits = this.state.listed().filter((p) => p.regions[this.side].has(x, y, z))
    return hits.sort((a, b) => a[this.side].n_voxels - b[this.side].n_voxels)[0] ?? null
  }

  /** A canvas as large as its box. */
  private fit(): void {
    this.box ??= [this.canvas.clientWidth, this.canvas.clientHeight]
    const ratio = Math.min(2, window.devicePixelRatio || 1)
    const width = Math.max(1, Math.round(this.box[0] * ratio)), height = Math.max(1, Math.round(this.box[1] * ratio))
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height }
  }

  /** Canvas pixels a CSS pixel. */
  private get unit(): number { return this.canvas.width / Math.max(1, this.box?.[0] ?? 1) }

  draw(): void {
    this.fit()
    const g = this.canvas.getContext('2d', OPAQUE)!
    g.setTransform(1, 0, 0, 1, 0, 0)
    g.fillStyle = '#000'
    g.fillRect(0, 0, this.canvas.width, this.canvas.height)
    this.anyGrey = false
    this.base(g)
    if (this.state.jacobian && this.role !== 'moving') this.jacobian(g)
    if (this.state.grid) this.grid(g)
    if (this.state.outlines) this.regions(g)
    this.proposal(g)
    if (this.slice === this.state.slice(this.side)) this.crosshair(g)
    this.marks(g)
    this.dragged(g)
    this.describe()
  }

  private base(g: CanvasRenderingContext2D): void {
    const s = this.state, first = this.role === 'moving' ? 'moving' : 'fixed'
    const missing = (name: string): string => (s.volumes.has(name) ? '' : `${s.busy || 'not there'}`)
    this.notice.textContent = ''
    if (this.role !== 'result') {
      if (!this.image(g, first)) this.notice.textContent = s.scene[this.side].there ? 'loading …' : 'The image is not where it was.'
      return
    }
    const name = s.shown
    const shownThere = s.volumes.has(name)
    if (!shownThere) {
      this.notice.textContent = name === 'warped' && !s.scene.warped ? 'Not registered yet.' : missing(name) === 'not there' ? 'loading …' : missing(name)
      if (s.mode !== 'alone') this.image(g, 'fixed')
      return
    }
    if (s.mode === 'alone') { this.image(g, name); return }
    if (s.mode === 'flicker') { this.image(g, s.flick ? name : this.other()); return }
    this.image(g, this.other())
    g.save()
    if (s.mode === 'swipe') {
      g.beginPath(); g.rect(this.canvas.width * s.swipe, 0, this.canvas.width, this.canvas.height); g.clip()
      this.image(g, name)
    } else if (s.mode === 'blend') {
      g.globalAlpha = s.opacity
      this.image(g, name)
    } else if (s.mode === 'checkerboard') {
      const cell = Math.max(24, this.canvas.width / 8)
      g.beginPath()
      for (let j = 0; j * cell < this.canvas.height; j++) for (let i = j % 2; i * cell < this.canvas.width; i += 2) g.rect(i * cell, j * cell, cell, cell)
      g.clip()
      this.image(g, name)
    } else {
      g.globalCompositeOperation = 'difference'
      this.image(g, name, false)
    }
    g.restore()
    if (s.mode === 'difference') this.greyed(g, name)
    if (s.mode === 'swipe') {
      const x = this.canvas.width * s.swipe
      g.fillStyle = '#ffd54a'; g.fillRect(x - 1, 0, 2, this.canvas.height); g.fillRect(x - 5, this.canvas.height / 2 - 14, 10, 28)
    }
  }

  /** What flicker and the others compare with: an unsaved result with the old one, all else with the fixed image. */
  private other(): string { return this.state.shown === 'new' && this.state.mode === 'flicker' && this.state.volumes.has('warped') ? 'warped' : 'fixed' }

  private image(g: CanvasRenderingContext2D, name: string, greyed = true): boolean {
    const volume = this.state.volumes.get(name)
    if (!volume) return false
    const width = volume.shape[this.plane.right], height = volume.shape[this.plane.down]
    this.render(volume, name, width, height)
    const p = this.place()
    g.imageSmoothingEnabled = true
    g.drawImage(this.pixels, 0, 0, width, height, p.x, p.y, width * p.sx, height * p.sy)
    if (greyed) this.greyed(g, name)
    return true
  }

  /** Grey where the moving image does not reach: what a warped image holds there is no image. */
  private greyed(g: CanvasRenderingContext2D, name: string): void {
    const s = this.state
    if (name !== 'warped' && name !== 'before' && name !== 'new') return
    const key = `${s.scene.serial} ${name} ${this.plane.name} ${this.slice}`
    const width = s.size('fixed')[this.plane.right], height = s.size('fixed')[this.plane.down]
    const field = name === 'new' ? s.newField : null
    if (this.greyOf !== key || this.greyField !== field) {
      if (this.greyField !== field || this.masks.size >= MASKS) this.masks.clear()
      let mask = this.masks.get(key)
      if (mask === undefined) {
        const found = beyond((at) => s.cameFrom(name, at), s.size('fixed'), s.size('moving'), this.plane, this.slice)
        this.masks.set(key, (mask = found && new ImageData(found, width, height)))
      }
      this.greyOf = key
      this.greyField = field
      this.grey.width = mask ? width : 0
      this.grey.height = mask ? height : 0
      if (mask) this.grey.getContext('2d', ON_CPU)!.putImageData(mask, 0, 0)
    }
    if (!this.grey.width) return
    this.anyGrey = true
    const p = this.place()
    g.drawImage(this.grey, 0, 0, width, height, p.x, p.y, width * p.sx, height * p.sy)
  }

  private render(volume: Volume, name: string, width: number, height: number): void {
    const [low, high] = this.state.windows[name === 'fixed' ? 'fixed' : 'moving']
    if (this.pixels.width !== width || this.pixels.height !== height) { this.pixels.width = width; this.pixels.height = height }
    if (this.data?.width !== width || this.data.height !== height) this.data = new ImageData(width, height)
    const data = this.data // every pixel of it is written
    slicePixels(volume, this.plane, Math.min(this.slice, volume.shape[this.plane.through] - 1), brightness(volume, low, high), new Uint32Array(data.data.buffer))
    this.pixels.getContext('2d', ON_CPU)!.putImageData(data, 0, 0)
  }

  private jacobian(g: CanvasRenderingContext2D): void {
    const volume = this.state.volumes.get(this.state.shown === 'new' ? 'new jacobian' : 'jacobian')
    if (!volume) return
    const width = volume.shape[this.plane.right], height = volume.shape[this.plane.down]
    if (this.over.width !== width || this.over.height !== height) { this.over.width = width; this.over.height = height }
    const data = new ImageData(width, height), out = new Uint32Array(data.data.buffer)
    const stride = [1, volume.shape[0], volume.shape[0] * volume.shape[1]]
    for (let v = 0; v < height; v++) for (let u = 0; u < width; u++) {
      const stored = volume.grey[this.slice * stride[this.plane.through] + (this.plane.flip ? height - 1 - v : v) * stride[this.plane.down] + u * stride[this.plane.right]]
      if (stored === NO_BODY) continue
      const [r, gr, b] = stored === FOLDED ? [255, 230, 0] : octaveColour(stored * volume.slope)
      out[v * width + u] = 0xff000000 | (b << 16) | (gr << 8) | r
    }
    this.over.getContext('2d', ON_CPU)!.putImageData(data, 0, 0)
    const p = this.place()
    g.save()
    g.globalAlpha = this.state.opacity
    g.drawImage(this.over, 0, 0, width, height, p.x, p.y, width * p.sx, height * p.sy)
    g.restore()
  }

  /** Even lines on the fixed grid; in the moving image where the transform takes them. */
  private grid(g: CanvasRenderingContext2D): void {
    const s = this.state, { right, down } = this.plane, size = s.size('fixed')
    const spacing = [s.scene.fixed.spacing[right], s.scene.fixed.spacing[down]]
    const step = Math.max(size[right] * spacing[0], size[down] * spacing[1]) / 24
    const lines = (a: number): number[] => {
      const n = size[a === 0 ? right : down], d = step / spacing[a]
      return Array.from({ length: Math.floor((n - 1) / d) + 1 }, (_, i) => i * d)
    }
    const at = (u: number, v: number): [number, number] => {
      const x: Triple = [0, 0, 0]
      x[right] = u; x[down] = v; x[this.plane.through] = s.slice('fixed')
      if (this.role === 'moving') { const m = s.activeField.toMoving(x); return this.toCanvas(m[right], m[down]) }
      return this.toCanvas(u, v)
    }
    g.save()
    g.strokeStyle = 'rgba(255, 210, 80, 0.75)'
    g.lineWidth = 1
    g.beginPath()
    const parts = 48
    for (const [fixedAxis, other] of [[0, 1], [1, 0]] as const) {
      const n = size[other === 0 ? right : down]
      for (const c of lines(fixedAxis)) for (let i = 0; i <= parts; i++) {
        const t = (i / parts) * (n - 1)
        const [x, y] = fixedAxis === 0 ? at(c, t) : at(t, c)
        if (i === 0) g.moveTo(x, y); else g.lineTo(x, y)
      }
    }
    g.stroke()
    g.restore()
  }

  private stroke(g: CanvasRenderingContext2D, region: Region, colour: string, width: number, fill: number, dash: number[] = []): void {
    if (!region.cuts(this.plane, this.slice)) return
    const p = this.place(), n = this.state.size(this.side)[this.plane.down]
    const matrix = this.plane.flip
      ? new DOMMatrix([p.sx, 0, 0, -p.sy, p.x + 0.5 * p.sx, p.y + (n - 0.5) * p.sy])
      : new DOMMatrix([p.sx, 0, 0, p.sy, p.x + 0.5 * p.sx, p.y + 0.5 * p.sy])
    const { line, area } = region.paths(this.plane, this.slice)
    const placed = new Path2D()
    placed.addPath(line, matrix)
    if (fill) {
      const filled = new Path2D()
      filled.addPath(area, matrix)
      g.globalAlpha = fill; g.fillStyle = colour; g.fill(filled); g.globalAlpha = 1
    }
    g.lineCap = 'round'; g.setLineDash(dash)
    g.strokeStyle = 'rgba(0,0,0,0.75)'; g.lineWidth = width + 2; g.stroke(placed)
    g.strokeStyle = colour; g.lineWidth = width; g.stroke(placed)
    g.setLineDash([])
  }

  private regions(g: CanvasRenderingContext2D): void {
    const s = this.state, lit = s.hover ?? s.selected
    const unit = Math.max(1, this.unit)
    if (this.role === 'result' && s.mode !== 'alone') return
    for (const pair of s.listed()) {
      if (pair.id === lit || this.mends(pair)) continue
      g.globalAlpha = 1
      if (lit !== null || s.proposal) g.globalAlpha = 0.45 // what is asked about stands out
      this.stroke(g, pair.regions[this.side], pair.colour, 1.4 * unit, 0, pair.keep ? [] : [4, 5])
      g.globalAlpha = 1
    }
    const pair = s.pair(lit)
    if (pair && !this.mends(pair)) {
      this.stroke(g, pair.regions[this.side], pair.colour, 2.6 * unit, 0.22, pair.keep ? [] : [4, 5])
      this.label(g, pair.regions[this.side], pair.title, pair.colour, unit)
    }
  }

  /** Whether the brush has an outline of this pair in this image. */
  private mends(pair: Pair): boolean { const b = this.state.brush; return b !== null && b.id === pair.id && b.side === this.side }

  /** The number beside a region, with a line to it, and not over it. */
  private label(g: CanvasRenderingContext2D, region: Region, text: string, colour: string, unit: number): void {
    if (!region.cuts(this.plane, this.slice)) return
    const a = this.plane
    const [x0, y0] = this.toCanvas(region.start[a.right], region.start[a.down])
    const [x1, y1] = this.toCanvas(region.start[a.right] + region.shape[a.right] - 1, region.start[a.down] + region.shape[a.down] - 1)
    const right = Math.max(x0, x1), top = Math.min(y0, y1)
    g.font = `600 ${13 * unit}px system-ui, sans-serif`
    const width = g.measureText(text).width + 10 * unit, height = 19 * unit
    const x = Math.max(2, Math.min(this.canvas.width - width - 4, right + 14 * unit))
    let y = Math.max(height + 2, Math.min(this.canvas.height - 4, top - 6 * unit))
    // The letters of the sides stand in the middle of the edges.
    const w = this.canvas.width, h = this.canvas.height, edge = 24 * unit, half = 12 * unit
    const meets = (left: number, upper: number, across: number, along: number): boolean => x < left + across && x + width > left && y - height < upper + along && y > upper
    if (this.info.letters[a.right][0] && (meets(0, h / 2 - half, edge, 2 * half) || meets(w - edge, h / 2 - half, edge, 2 * half))) y = h / 2 - half
    if (this.info.letters[a.down][0] && meets(w / 2 - half, 0, 2 * half, edge)) y = edge + height
    g.strokeStyle = colour; g.lineWidth = unit; g.beginPath(); g.moveTo((x0 + x1) / 2, (y0 + y1) / 2); g.lineTo(x, y - height / 2); g.stroke()
    g.fillStyle = 'rgba(0,0,0,0.82)'; g.fillRect(x, y - height, width, height)
    g.fillStyle = '#fff'; g.textAlign = 'left'; g.textBaseline = 'middle'; g.fillText(text, x + 5 * unit, y - height / 2)
    g.fillStyle = colour; g.fillRect(x, y - height, 3 * unit, height)
  }

  private proposal(g: CanvasRenderingContext2D): void {
    const s = this.state
    if (this.role === 'result') return
    const region = s.proposal?.regions[this.side]
    if (region && !(s.brush && s.brush.side === this.side)) this.stroke(g, region, '#ffffff', 2.2, 0.18, [7, 4])
    if (s.brush && s.brush.side === this.side) this.stroke(g, s.brush.region, '#ffe24a', 2.2, 0.3)
  }

  private crosshair(g: CanvasRenderingContext2D): void {
    const at = this.role === 'moving' ? this.state.moving : this.state.cursor
    const [x, y] = this.toCanvas(at[this.plane.right], at[this.plane.down])
    g.strokeStyle = 'rgba(110, 220, 255, 0.75)'; g.lineWidth = 1
    g.beginPath()
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      g.moveTo(x + dx * 10, y + dy * 10)
      g.lineTo(x + dx * this.canvas.width, y + dy * this.canvas.height)
    }
    g.stroke()
  }

  private marks(g: CanvasRenderingContext2D): void {
    const unit = this.unit
    g.font = `600 ${13 * unit}px system-ui, sans-serif`
    g.textAlign = 'center'; g.textBaseline = 'middle'
    const write = (text: string, x: number, y: number): void => {
      if (!text) return
      g.lineWidth = 3 * unit; g.strokeStyle = '#000'; g.strokeText(text, x, y); g.fillStyle = '#ffe9a8'; g.fillText(text, x, y)
    }
    const w = this.canvas.width, h = this.canvas.height, m = 11 * unit
    const [left, right] = this.info.letters[this.plane.right]
    const [top, bottom] = this.plane.flip ? [...this.info.letters[this.plane.down]].reverse() : this.info.letters[this.plane.down]
    write(left, m, h / 2); write(right, w - m, h / 2); write(top, w / 2, m); write(bottom, w / 2, h - m)
    if (!this.info.flat && this.info.unit === 'mm' && !left) {
      g.textAlign = 'left'
      g.font = `600 ${12 * unit}px system-ui, sans-serif`
      // The choices of the third image lie at the top, and what its grey means at the bottom.
      write('sides unknown', 7 * unit, h - (!this.anyGrey ? 40 : this.state.jacobian ? 76 : 50) * unit)
    }
    if (this.anyGrey) {
      g.textAlign = 'right'
      g.font = `600 ${12 * unit}px system-ui, sans-serif`
      write(BEYOND, w - 8 * unit, h - (this.state.jacobian ? 56 : 30) * unit)
    }
    const p = this.place()
    const length = nice((w / p.scale) * 0.25)
    g.fillStyle = '#000'; g.fillRect(12 * unit - 1, h - 13 * unit, length * p.scale + 2, 5 * unit)
    g.fillStyle = '#fff'; g.fillRect(12 * unit, h - 12 * unit, length * p.scale, 3 * unit)
    g.textAlign = 'left'
    g.lineWidth = 3 * unit; g.strokeStyle = '#000'
    const text = `${length} ${this.info.unit}`
    g.strokeText(text, 12 * unit, h - 22 * unit); g.fillStyle = '#fff'; g.fillText(text, 12 * unit, h - 22 * unit)
  }

  private dragged(g: CanvasRenderingContext2D): void {
    if (this.drag?.kind === 'box') {
      const [x0, y0] = this.toCanvas(...this.drag.from), [x1, y1] = this.toCanvas(...this.drag.to)
      g.strokeStyle = '#fff'; g.lineWidth = 1.5; g.setLineDash([6, 4]); g.strokeRect(x0, y0, x1 - x0, y1 - y0); g.setLineDash([])
    }
    const s = this.state
    if ((s.tool === 'brush' || s.tool === 'erase') && this.pointer && this.role !== 'result') {
      const [x, y] = this.toCanvas(...this.pointer), p = this.place()
      g.strokeStyle = s.tool === 'brush' ? '#ffe24a' : '#ff8f7a'; g.lineWidth = 1.5
      g.beginPath(); g.ellipse(x, y, s.radius * p.sx, (s.radius / this.aspect) * p.sy, 0, 0, 7); g.stroke()
    }
  }

  private describe(): void {
    const s = this.state, at: Triple = [...(this.role === 'moving' ? s.moving : s.cursor)]
    if (this.slice !== s.slice(this.side)) at[this.plane.through] = this.slice
    const m = this.info.matrix
    const world = [0, 1, 2].map((i) => m[i][0] * at[0] + m[i][1] * at[1] + m[i][2] * at[2] + m[i][3]).slice(0, this.info.flat ? 2 : 3)
    const what = this.role === 'result' ? this.resultName() : this.role
    const slice = this.info.flat ? '' : `slice ${this.slice + 1}/${s.size(this.side)[this.plane.through]}`
    const place = `${this.info.letters[0][0] ? 'LPS ' : ''}${world.map((v) => v.toFixed(1)).join(', ')} ${this.info.unit}`
    const grey = this.info.colour ? '' : this.greys(at)
    const parts = [slice, place, grey, this.anyGrey ? BEYOND : ''].filter(Boolean)
    // Two lines, whatever they say: a caption that grows would move its image out of line with the others.
    const name = document.createElement('b')
    name.textContent = what
    this.caption.replaceChildren(captionLine(name, grey), captionLine([slice, place].filter(Boolean).join(' · ')))
    this.canvas.setAttribute('aria-label', `${what}: ${this.info.name}, ${parts.join(', ')}`)
  }

  /** Grey values at the crosshair: of the one image that is seen, with its window, or of both. */
  private greys(at: Triple): string {
    const s = this.state
    const value = (name: string): string => {
      const v = s.volumes.get(name)?.value(Math.round(at[0]), Math.round(at[1]), Math.round(at[2]))
      return v === undefined || Number.isNaN(v) ? '' : short(v)
    }
    if (this.role === 'result' && s.mode !== 'alone' && s.mode !== 'flicker') {
      const [a, b] = [value('fixed'), value(s.shown)]
      return a && b ? `values ${a} and ${b}` : ''
    }
    const seen = this.role !== 'result' ? this.role : s.mode === 'flicker' && !s.flick ? this.other() : s.shown
    const [low, high] = s.windows[seen === 'fixed' ? 'fixed' : 'moving']
    return `${value(seen) ? `value ${value(seen)}, ` : ''}window ${short(low)} to ${short(high)}`
  }

  private resultName(): string {
    const s = this.state
    const name = { warped: s.scene.registered ? 'warped' : 'moving at its place', before: 'before', new: 'new result' }[s.shown]
    if (s.mode === 'alone') return name
    if (s.mode === 'flicker') return `flicker: ${s.flick ? name : this.other() === 'warped' ? 'old result' : 'fixed'}`
    return s.mode === 'swipe' ? `fixed | ${name}` : `${s.mode}: fixed, ${name}`
  }
}

/** Blue below the volume of before, white at it, red above; full at half and at twice. */
export function octaveColour(octaves: number): [number, number, number] {
  const share = Math.min(1, Math.max(-1, octaves)), end = share < 0 ? [33, 102, 172] : [178, 24, 43]
  return end.map((e) => Math.round(255 + Math.abs(share) * (e - 255))) as [number, number, number]
}

function captionLine(...parts: (string | HTMLElement)[]): HTMLElement {
  const line = document.createElement('span')
  line.append(...parts.flatMap((part, i) => (i ? [' ', part] : [part])))
  return line
}

function nice(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return [5, 2, 1].map((f) => f * power).find((v) => v <= value) ?? power
}

function short(value: number): string { return Math.abs(value) >= 100 || Number.isInteger(value) ? value.toFixed(0) : String(Number(value.toPrecision(3))) }
