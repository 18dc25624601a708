// The table of pairs: thumbnails of both regions, numbers, and what can be done with each.

import type { Side, Triple } from './api'
import type { Pair, State } from './state'
import { ON_CPU } from './panel'
import { brightness, slicePixels, type Volume } from './volume'

export interface TableActions {
  hover(id: number | null): void
  open(pair: Pair): void
  keep(pair: Pair): void
  rename(pair: Pair, name: string): void
}

export class Table {
  private rows = new Map<number, { element: HTMLElement; key: string }>()
  private seen: IntersectionObserver
  /** Where the pointer moved last: a row that comes to lie under a pointer that rests was not pointed at. */
  private pointer: [number, number] = [-1, -1]
  private sheets = new WeakMap<Volume, { key: string; sheet: OffscreenCanvas }>()

  constructor(private root: HTMLElement, private state: State, private actions: TableActions) {
    root.setAttribute('role', 'list')
    window.addEventListener('mousemove', (event) => { this.pointer = [event.clientX, event.clientY] }, true)
    this.seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.pictures(entry.target as HTMLElement)
    }, { root: null })
  }

  update(): void {
    const s = this.state, listed = s.listed()
    const wanted = listed.map((pair) => {
      const key = JSON.stringify([s.scene.serial, pair.name, pair.keep, pair.confidence, pair.fixed.bits.length, pair.moving.bits.length, pair.fixed.n_voxels, pair.moving.n_voxels, s.overlaps.has(pair.id), s.overlapping])
      const known = this.rows.get(pair.id)
      if (known && known.key === key) return known.element
      const element = this.row(pair)
      if (known) this.seen.unobserve(known.element)
      this.rows.set(pair.id, { element, key })
      this.seen.observe(element)
      return element
    })
    const present = [...this.root.children]
    if (present.length !== wanted.length || present.some((child, i) => child !== wanted[i])) this.root.replaceChildren(...wanted)
    const lit = s.hover ?? s.selected
    for (const [id, { element }] of this.rows) element.classList.toggle('on', id === lit)
  }

  /** Draws the pictures again, after images or windows have changed. */
  refresh(): void {
    for (const { element } of this.rows.values()) { element.dataset.drawn = ''; this.seen.unobserve(element); this.seen.observe(element) }
  }

  show(id: number): void { this.rows.get(id)?.element.scrollIntoView({ block: 'nearest' }) }

  private row(pair: Pair): HTMLElement {
    const row = document.createElement('div')
    row.className = 'pair'
    row.setAttribute('role', 'listitem')
    row.tabIndex = 0
    row.dataset.id = String(pair.id)
    row.classList.toggle('rejected', !pair.keep)
    const pictures = document.createElement('div')
    pictures.className = 'thumbs'
    for (const side of ['fixed', 'moving']) {
      const canvas = document.createElement('canvas')
      canvas.dataset.side = side
      canvas.width = canvas.height = 88
      pictures.append(canvas)
    }
    const text = document.createElement('div')
    text.className = 'text'
    const title = document.createElement('div')
    title.className = 'name'
    const chip = document.createElement('i')
    chip.style.background = pair.colour
    const name = document.createElement('span')
    name.textContent = (pair.name ? pair.title : `pair ${pair.title}`) + (pair.structure === pair.id ? '' : `, structure ${pair.structure}`)
    title.append(chip, name)
    const size = amount(pair.fixed.size, this.state) + (pair.moving.size === pair.fixed.size ? '' : ` → ${amount(pair.moving.size, this.state)}`)
    const weight = pair.keep ? (pair.background ? 'background' : pair.confidence > 0 ? `weight ${pair.confidence.toFixed(2)}` : 'unused') : 'rejected'
    const likeness = pair.given ? 'given' : `similarity ${pair.similarity.toFixed(2)}`
    const overlap = this.state.overlaps.get(pair.id)
    const several = pair.keep && this.state.pairs.some((p) => p.id !== pair.id && p.structure === pair.structure && p.keep)
    const dice = overlap ? `${several ? 'structure ' : ''}Dice ${overlap.filter((v) => v !== null).map((v) => v.toFixed(2)).join(' → ')}` : this.state.overlapping ? 'Dice …' : 'Dice: register again'
    // A line each from the start: what arrives later must not push the rows about.
    const facts = [`${likeness} · ${weight}`, size, dice].map((line) => { const e = document.createElement('div'); e.className = 'soft'; e.textContent = line; return e })
    const buttons = document.createElement('div')
    buttons.className = 'acts'
    const keep = document.createElement('button')
    keep.textContent = pair.keep ? 'Reject' : 'Restore'
    keep.addEventListener('click', (event) => { event.stopPropagation(); this.actions.keep(pair) })
    const rename = document.createElement('button')
    rename.textContent = 'Rename'
    rename.addEventListener('click', (event) => { event.stopPropagation(); this.rename(pair, title) })
    buttons.append(keep, rename)
    text.append(title, ...facts, buttons)
    row.append(pictures, text)
    row.addEventListener('mouseenter', (event) => { if (event.clientX !== this.pointer[0] || event.clientY !== this.pointer[1]) this.actions.hover(pair.id) })
    row.addEventListener('mouseleave', () => this.actions.hover(null))
    row.addEventListener('focus', () => this.actions.hover(pair.id))
    row.addEventListener('blur', () => this.actions.hover(null))
    row.addEventListener('click', () => this.actions.open(this.state.pair(pair.id) ?? pair))
    row.addEventListener('keydown', (event) => { if (event.key === 'Enter' && event.target === row) this.actions.open(this.state.pair(pair.id) ?? pair) })
    return row
  }

  startRename(pair: Pair): void {
    const title = this.rows.get(pair.id)?.element.querySelector<HTMLElement>('.name')
    if (title) this.rename(pair, title)
  }

  private rename(pair: Pair, title: HTMLElement): void {
    const input = document.createElement('input')
    input.value = pair.name
    input.maxLength = 80
    input.setAttribute('aria-label', `name of pair ${pair.id}`)
    const old = [...title.childNodes]
    let ended = false
    const end = (save: boolean): void => {
      if (ended) return
      ended = true
      title.replaceChildren(...old)
      if (save && input.value.trim() && input.value.trim() !== pair.name) this.actions.rename(pair, input.value.trim())
    }
    input.addEventListener('click', (event) => event.stopPropagation())
    input.addEventListener('keydown', (event) => {
      event.stopPropagation()
      if (event.key === 'Enter') end(true)
      if (event.key === 'Escape') end(false)
    })
    input.addEventListener('blur', () => end(true))
    title.replaceChildren(input)
    input.focus()
    input.select()
  }

  private pictures(row: HTMLElement): void {
    const pair = this.state.pair(Number(row.dataset.id))
    if (!pair || row.dataset.drawn === 'yes') return
    let complete = true
    for (const canvas of row.querySelectorAll<HTMLCanvasElement>('canvas')) complete = this.picture(canvas, pair, canvas.dataset.side as Side) && complete
    if (complete) row.dataset.drawn = 'yes'
  }

  /** A slice as a picture; the last one of each image is kept, because the rows of a stack show the same slice. */
  private sheet(volume: Volume, side: Side, k: number): OffscreenCanvas {
    const { plane, windows } = this.state, [low, high] = windows[side]
    const key = `${plane.name} ${k} ${low} ${high}`, known = this.sheets.get(volume)
    if (known?.key === key) return known.sheet
    const width = volume.shape[plane.right], height = volume.shape[plane.down]
    const sheet = new OffscreenCanvas(width, height), data = new ImageData(width, height)
    slicePixels(volume, plane, k, brightness(volume, low, high), new Uint32Array(data.data.buffer))
    sheet.getContext('2d', ON_CPU)!.putImageData(data, 0, 0)
    this.sheets.set(volume, { key, sheet })
    return sheet
  }

  /** The region and a little around it, on the slice that holds most of it. */
  private picture(canvas: HTMLCanvasElement, pair: Pair, side: Side): boolean {
    const s = this.state, volume = s.volumes.get(side), plane = s.plane
    const region = pair.regions[side]
    const g = canvas.getContext('2d', ON_CPU)!
    g.fillStyle = '#000'
    g.fillRect(0, 0, canvas.width, canvas.height)
    const k = (region.middle(plane.through) as Triple)[plane.through]
    const spacing = [s.scene[side].spacing[plane.right], s.scene[side].spacing[plane.down]]
    const height = s.size(side)[plane.down]
    const extent = Math.max(region.shape[plane.right] * spacing[0], region.shape[plane.down] * spacing[1]) * 1.7
    const scale = canvas.width / extent
    const u = region.start[plane.right] + region.shape[plane.right] / 2, v = region.start[plane.down] + region.shape[plane.down] / 2
    const x = canvas.width / 2 - u * spacing[0] * scale
    const y = canvas.height / 2 - (plane.flip ? height - v : v) * spacing[1] * scale
    if (volume) {
      const sheet = this.sheet(volume, side, k)
      g.drawImage(sheet, x, y, sheet.width * spacing[0] * scale, height * spacing[1] * scale)
    }
    const sx = spacing[0] * scale, sy = spacing[1] * scale
    const matrix = plane.flip ? new DOMMatrix([sx, 0, 0, -sy, x + 0.5 * sx, y + (height - 0.5) * sy]) : new DOMMatrix([sx, 0, 0, sy, x + 0.5 * sx, y + 0.5 * sy])
    const path = new Path2D()
    path.addPath(region.paths(plane, k).line, matrix)
    g.lineCap = 'round'
    g.strokeStyle = 'rgba(0,0,0,.7)'; g.lineWidth = 4; g.stroke(path)
    g.strokeStyle = pair.colour; g.lineWidth = 2; g.stroke(path)
    return volume !== undefined || !s.scene[side].there
  }
}

/** A size in words: ml for volumes, mm² or px² for areas. */
export function amount(size: number, state: State): string {
  const info = state.scene.fixed
  const short = (v: number): string => (v >= 1000 ? Number(v.toPrecision(3)).toLocaleString('en') : v >= 100 ? v.toFixed(0) : v.toPrecision(2))
  if (info.flat) return `${short(size)} ${info.unit}²`
  return info.unit === 'mm' ? `${short(size / 1000)} ml` : `${short(size)} ${info.unit}³`
}
