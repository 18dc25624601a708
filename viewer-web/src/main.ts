// The page: asks for the scene, puts it on the screen, and tells the server what a person changes.

import './style.css'
import { bytes, get, post, type Answer, type Edited, type Job, type PairRow, type Scene, type Side, type Triple } from './api'
import { Field } from './field'
import { Panel } from './panel'
import { Region } from './region'
import { State, type Mode, type Pair, type Shown, type Tool } from './state'
import { amount, Table } from './table'
import { ThreeD } from './three'
import { PLANES, Volume } from './volume'

const $ = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T

const TABLE_MS = 150 // between two drawings of the table
const PREPARE_MS = 200 // a slice that is passed on the way to another one is not worth it

async function fieldOf(scene: Scene, which: 'run' | 'new', nodes: Triple): Promise<Field> {
  const values = new Float32Array(await bytes(`/map/${which}`))
  const [z, y, x] = scene.fixed.shape
  return new Field([...nodes].reverse() as Triple, values, [x, y, z], scene.moving.spacing)
}

class App {
  private panels: Panel[]
  private table: Table
  private three: ThreeD
  private pending = false
  private timer = 0
  private listing = 0
  private listed = 0
  /** Counts the prompts and the cards that were closed: an answer to an older one is dropped. */
  private asked = 0
  private following: Promise<void> = Promise.resolve()
  private adding = false
  private preparing = 0
  private prepared = ''

  constructor(private state: State) {
    this.panels = (['fixed', 'moving', 'result'] as const).map((role) => new Panel(role, state, () => this.redraw()))
    for (const panel of this.panels) { $('panels').append(panel.root); this.listen(panel) }
    this.resultBar(this.panels[2])
    this.three = new ThreeD($('volume'), state, () => this.redraw())
    this.table = new Table($('pairs'), state, {
      hover: (id) => { state.peek = true; if (state.hover !== id) { state.hover = id; this.redraw() } },
      open: (pair) => this.open(pair),
      keep: (pair) => void this.edit({ do: pair.keep ? 'reject' : 'restore', ids: [pair.id] }),
      rename: (pair, name) => void this.edit({ do: 'rename', id: pair.id, name }),
    })
    this.head()
    this.bar()
    this.filters()
    window.addEventListener('keydown', (event) => this.key(event))
    setInterval(() => { if (state.mode === 'flicker' && !state.threeD) { state.flick = !state.flick; this.panels[2].draw() } }, 600)
  }

  /** Images first, then masks, then what can wait. */
  async load(images: [string, Promise<ArrayBuffer>][]): Promise<void> {
    const s = this.state
    await Promise.all(images.map(async ([name, image]) => {
      s.volumes.set(name, new Volume(await image))
      this.redraw()
    }))
    document.body.dataset.ready = 'images'
    await s.take(await get<PairRow[]>('/pairs'))
    // Regions of a thick stack lie in one slice each: a list over all slices would show none of most slices.
    s.here = s.pairs.length > 20 && s.pairs.filter((p) => p.regions.fixed.shape[s.plane.through] === 1).length > s.pairs.length / 2
    $<HTMLInputElement>('here').checked = s.here
    this.limits(true)
    this.table.refresh()
    if (s.job.state === 'running') this.follow()
    else this.jobLine()
    if (s.job.new) await this.arrived(s.job)
    this.redraw()
    document.body.dataset.ready = 'all'
    void this.compareOverlaps()
  }

  /** How far the regions of each pair cover each other: computed beside the server, and shown when it is there. */
  private async compareOverlaps(): Promise<void> {
    try {
      const found = await get<Record<string, [number, number | null]>>('/overlaps')
      this.state.overlaps = new Map(Object.entries(found).map(([id, values]) => [Number(id), values]))
    } catch { /* the table is complete without it */ }
    this.state.overlapping = false
    this.redraw()
  }

  redraw(): void {
    if (this.pending) return
    this.pending = true
    requestAnimationFrame(() => { this.pending = false; this.draw() })
  }

  private draw(): void {
    const s = this.state
    $('panels').hidden = s.threeD
    $('volume').hidden = !s.threeD
    if (!s.threeD) for (const panel of this.panels) panel.draw()
    const n = s.size('fixed')[s.plane.through]
    const slider = $<HTMLInputElement>('slice')
    slider.max = String(n - 1)
    slider.value = String(s.slice('fixed'))
    slider.disabled = n === 1
    $('where').textContent = `${s.slice('fixed') + 1} / ${n}`
    this.pressed()
    this.later()
  }

  /** The table follows when the images are on the screen: through a stack, each step brings other rows. */
  private later(): void {
    if (this.listing) return
    document.body.dataset.listing = 'soon'
    this.listing = window.setTimeout(() => this.list(), Math.max(0, this.listed + TABLE_MS - performance.now()))
  }

  private list(): void {
    this.listing = 0
    this.listed = performance.now()
    this.table.update()
    this.limits(false)
    delete document.body.dataset.listing
  }

  // --- What stands above and beside the images -------------------------------------------------------------------

  private head(): void {
    const s = this.state
    document.title = `${s.scene.title} · samreg`
    $('title').textContent = s.scene.title
    $('facts').textContent = $('facts').title = s.scene.folder
    $('title').title = `moving image → fixed image: ${s.scene.title}`
    const verdict = $('verdict')
    verdict.textContent = s.scene.registered ? s.scene.verdict : ''
    verdict.className = `verdict ${s.scene.verdict.toLowerCase()}`
    verdict.hidden = !verdict.textContent
    const notes = $('notes')
    notes.hidden = !s.scene.notes.length
    notes.replaceChildren()
    if (s.scene.notes.length) {
      const details = document.createElement('details'), summary = document.createElement('summary')
      summary.textContent = s.scene.notes.length === 1 ? s.scene.notes[0] : `${s.scene.notes.length} notes: ${s.scene.notes[0]}`
      details.append(summary)
      for (const note of s.scene.notes.slice(1)) { const p = document.createElement('p'); p.textContent = note; details.append(p) }
      notes.append(details)
    }
    $('undo').onclick = () => void this.edit({ do: 'undo' })
    $('redo').onclick = () => void this.edit({ do: 'redo' })
    $('help').onclick = () => this.help()
    const register = $<HTMLButtonElement>('register')
    register.onclick = () => void this.register('fit')
    register.disabled = !s.scene.complete
    if (!s.scene.registered) {
      register.textContent = 'Register from these pairs'
      const find = document.createElement('button')
      find.className = 'main'
      find.textContent = 'Find pairs and register'
      find.onclick = () => void this.register('register')
      find.disabled = !s.scene.complete
      register.before(find)
    }
    this.counts(s.scene.undo, s.scene.redo)
  }

  private counts(undo: number, redo: number): void {
    $<HTMLButtonElement>('undo').disabled = !undo
    $<HTMLButtonElement>('redo').disabled = !redo
  }

  private buttons(root: HTMLElement, rows: [string, string, string, () => void][]): void {
    for (const [name, text, title, act] of rows) {
      const button = document.createElement('button')
      button.dataset.name = name
      button.textContent = text
      button.title = title
      button.addEventListener('click', () => { act(); this.redraw() })
      root.append(button)
    }
  }

  private bar(): void {
    const s = this.state
    const tools: [Tool, string, string][] = [['look', 'Look', 'Click: go there; wheel: slices; Ctrl and wheel: larger; right button: window'], ['window', 'Window', 'Drag: brightness and contrast'], ['point', 'Point', 'Click in either image: the region there and its counterpart'], ['box', 'Box', 'Drag a box in either image'], ['brush', 'Brush', 'Mend the outline of the chosen pair'], ['erase', 'Erase', 'Take away from the outline of the chosen pair']]
    this.buttons($('tools'), tools.map(([name, text, title]) => [name, text, title, () => this.tool(name)]))
    if (!s.scene.fixed.flat) {
      const sided = s.scene.fixed.letters[0][0] !== ''
      this.buttons($('planes'), [
        ...PLANES.map((plane, i): [string, string, string, () => void] => [plane.name, sided ? plane.name : ['yz', 'xz', 'xy'][i], sided ? `${plane.name} slices` : `Slices across ${'xyz'[i]}: the header does not say how the patient lies`, () => { s.threeD = false; s.plane = PLANES[i]; this.table.refresh() }]).reverse(),
        ['volume', '3D', 'Three planes and the volume (NiiVue)', () => { s.threeD = !s.threeD; if (s.threeD) setTimeout(() => void this.three.update()); else this.three.clear() }],
      ])
    }
    document.querySelector<HTMLElement>('.slice')!.hidden = s.scene.fixed.flat
    this.buttons($('layers'), [
      ['outlines', 'Outlines', 'O', () => { s.outlines = !s.outlines }],
      ['grid', 'Grid', 'G: even lines of the fixed image, and where they are in the moving image', () => { s.grid = !s.grid }],
      ...(s.scene.jacobian ? [['jacobian', 'Jacobian', 'J: change of volume', () => void this.jacobian()] as [string, string, string, () => void]] : []),
    ])
    $<HTMLInputElement>('slice').oninput = (event) => { const at: Triple = [...s.cursor]; s.hover = null; at[s.plane.through] = Number((event.target as HTMLInputElement).value); s.lookAt(at); this.prepare(); this.redraw() }
    $<HTMLInputElement>('opacity').oninput = (event) => { s.opacity = Number((event.target as HTMLInputElement).value) / 100; this.redraw() }
    $<HTMLInputElement>('radius').oninput = (event) => { s.radius = Number((event.target as HTMLInputElement).value) * s.brushUnit }
  }

  private resultBar(panel: Panel): void {
    const s = this.state
    const bar = document.createElement('div')
    bar.className = 'result-bar'
    const shown = document.createElement('select')
    shown.id = 'shown'
    shown.setAttribute('aria-label', 'Third image')
    shown.onchange = () => void this.show(shown.value as Shown)
    const modes = document.createElement('select')
    modes.id = 'mode'
    modes.setAttribute('aria-label', 'Compared how')
    for (const [value, text] of [['alone', 'alone'], ['swipe', 'swipe'], ['blend', 'blend'], ['checkerboard', 'checkerboard'], ['difference', 'difference'], ['flicker', 'flicker']]) modes.add(new Option(text, value))
    modes.onchange = () => { s.mode = modes.value as Mode; this.redraw() }
    const legend = document.createElement('div')
    legend.id = 'legend'
    legend.hidden = true
    const what = document.createElement('p')
    what.textContent = 'volume: moving / fixed'
    legend.append(what)
    for (const text of ['½', '', '1', '', '2']) { const span = document.createElement('span'); span.textContent = text; legend.append(span) }
    const folded = document.createElement('b')
    folded.textContent = 'folded'
    legend.append(folded)
    legend.title = 'Volume of tissue in the moving image over its volume in the fixed image'
    const label = document.createElement('label')
    label.append('image ', shown)
    const label2 = document.createElement('label')
    label2.append('with fixed: ', modes)
    bar.append(label, label2)
    panel.root.prepend(bar)
    panel.root.append(legend)
    this.choices()
  }

  private choices(): void {
    const s = this.state, shown = $<HTMLSelectElement>('shown')
    const rows: [Shown, string][] = [['warped', s.scene.registered ? 'warped' : 'not registered']]
    if (s.scene.before) rows.push(['before', 'before'])
    if (s.job.new) rows.push(['new', 'new result'])
    shown.replaceChildren(...rows.map(([value, text]) => new Option(text, value)))
    if (!rows.some(([value]) => value === s.shown)) s.shown = 'warped'
    shown.value = s.shown
  }

  private filters(): void {
    const s = this.state
    $<HTMLInputElement>('best').oninput = (e) => { s.best = Number((e.target as HTMLInputElement).value); this.redraw() }
    $<HTMLInputElement>('epsilon').oninput = (e) => { s.epsilon = Number((e.target as HTMLInputElement).value) / 100; this.redraw() }
    $<HTMLInputElement>('all').onchange = (e) => { s.all = (e.target as HTMLInputElement).checked; this.limits(true); this.redraw() }
    $<HTMLInputElement>('here').onchange = (e) => { s.here = (e.target as HTMLInputElement).checked; this.limits(false); this.redraw() }
    $('here-label').hidden = s.scene.fixed.flat
    $<HTMLSelectElement>('order').onchange = (e) => { s.order = (e.target as HTMLSelectElement).value; this.redraw() }
    $('keep-only').onclick = () => {
      const ids = s.listed().filter((p) => p.keep).map((p) => p.id)
      if (ids.length) void this.edit({ do: 'keep_only', ids })
      else this.say('No pair would be left: move the sliders.', true)
    }
  }

  private limits(reset: boolean): void {
    const s = this.state, most = Math.max(1, s.candidates().length)
    const best = $<HTMLInputElement>('best')
    best.max = String(most)
    if (reset) s.best = 10
    best.value = String(Math.min(s.best, most))
    $('best-out').textContent = `${Math.min(s.best, most)} of ${s.candidates().length}`
    $<HTMLInputElement>('epsilon').value = String(Math.round(s.epsilon * 100))
    $('epsilon-out').textContent = s.epsilon > 0 ? s.epsilon.toFixed(2) : 'all'
    const used = s.pairs.filter((p) => s.used(p)).length
    $('count').textContent = `${used} ${used === 1 ? 'pair' : 'pairs'} used of ${s.pairs.length}`
  }

  private pressed(): void {
    const s = this.state
    const on: Record<string, boolean> = { [s.tool]: true, [s.plane.name]: !s.threeD, volume: s.threeD, outlines: s.outlines, grid: s.grid, jacobian: s.jacobian }
    for (const button of document.querySelectorAll<HTMLButtonElement>('#tools button, #planes button, #layers button')) button.setAttribute('aria-pressed', String(Boolean(on[button.dataset.name!])))
    $('brush-size').hidden = s.tool !== 'brush' && s.tool !== 'erase'
    $('legend').hidden = !s.jacobian
    $<HTMLSelectElement>('mode').value = s.mode
    document.body.dataset.tool = s.tool
  }

  say(text: string, wrong = false): void {
    const saved = $('saved')
    saved.textContent = text
    saved.classList.toggle('wrong', wrong)
  }

  // --- Looking ---------------------------------------------------------------------------------------------------

  private open(pair: Pair): void {
    this.state.selected = pair.id
    this.state.hover = null // a pointer that rests on another row must not hide what a key has chosen
    this.state.goTo(pair)
    this.redraw()
    // On a narrow screen the images are above the table, and a pair is opened to be seen.
    if (matchMedia('(max-width: 1000px)').matches) $('panels').scrollIntoView({ block: 'start' })
    else requestAnimationFrame(() => this.table.show(pair.id))
  }

  private step(by: number): void {
    const s = this.state, at: Triple = [...s.cursor]
    s.hover = null
    at[s.plane.through] = Math.round(at[s.plane.through]) + by
    s.lookAt(at)
    if (s.threeD) void this.three.update()
    this.prepare()
    this.redraw()
  }

  private async show(name: Shown): Promise<void> {
    const s = this.state
    s.shown = name
    if (name === 'before' && !s.volumes.has('before')) await this.fetched('before', '/volume/run/before', 'resampling …')
    s.lookAt(s.cursor)
    if (s.jacobian) await this.needJacobian()
    this.choices()
    this.redraw()
  }

  private async fetched(name: string, path: string, busy: string): Promise<void> {
    this.state.busy = busy
    document.body.dataset.busy = busy
    this.redraw()
    try {
      this.state.volumes.set(name, new Volume(await bytes(path)))
    } catch (error) {
      this.say(words(error), true)
    }
    this.state.busy = ''
    delete document.body.dataset.busy
    this.redraw()
  }

  private async jacobian(): Promise<void> {
    this.state.jacobian = !this.state.jacobian
    if (this.state.jacobian) await this.needJacobian()
    this.redraw()
  }

  private async needJacobian(): Promise<void> {
    const fresh = this.state.shown === 'new', name = fresh ? 'new jacobian' : 'jacobian'
    if (!this.state.volumes.has(name)) await this.fetched(name, `/volume/${fresh ? 'new' : 'run'}/jacobian`, 'computing …')
  }

  private listen(panel: Panel): void {
    const s = this.state, canvas = panel.canvas
    let last: [number, number] = [0, 0]
    const look = (u: number, v: number): void => {
      const at = panel.index(u, v)
      if (panel.role === 'moving') s.lookAtMoving(at); else s.lookAt(at)
    }
    canvas.addEventListener('contextmenu', (event) => event.preventDefault())
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId)
      canvas.focus({ preventScroll: true })
      last = [event.clientX, event.clientY]
      const [u, v] = panel.toVoxel(event)
      const kind = event.button === 2 || s.tool === 'window' ? 'window' : event.button === 1 || event.shiftKey ? 'pan' : panel.role === 'result' && s.mode === 'swipe' ? 'swipe' : s.tool
      panel.drag = { kind, from: [u, v], to: [u, v] }
      event.preventDefault()
      if (kind === 'look') look(u, v)
      if (kind === 'swipe') s.swipe = shareOf(canvas, event)
      if (kind === 'brush' || kind === 'erase') this.paint(panel, u, v)
      this.redraw()
    })
    canvas.addEventListener('pointermove', (event) => {
      const [u, v] = panel.toVoxel(event)
      panel.pointer = [u, v]
      const drag = panel.drag
      if (!drag) {
        const pair = s.tool === 'look' && s.outlines && panel.inside(u, v) ? panel.regionAt(u, v) : null
        s.peek = false
        if ((pair?.id ?? null) !== s.hover) { s.hover = pair?.id ?? null; this.redraw() }
        if (s.tool === 'brush' || s.tool === 'erase') this.redraw()
        return
      }
      const dx = event.clientX - last[0], dy = event.clientY - last[1]
      last = [event.clientX, event.clientY]
      drag.to = [u, v]
      if (drag.kind === 'look') look(u, v)
      else if (drag.kind === 'swipe') s.swipe = shareOf(canvas, event)
      else if (drag.kind === 'brush' || drag.kind === 'erase') this.paint(panel, u, v)
      else if (drag.kind === 'window') this.window(panel, dx, dy)
      else if (drag.kind === 'pan') this.pan(panel, dx, dy)
      this.redraw()
    })
    canvas.addEventListener('pointerup', (event) => {
      const drag = panel.drag
      panel.drag = null
      if (!drag) return
      const [u, v] = panel.toVoxel(event)
      if (drag.kind === 'look' && Math.hypot(u - drag.from[0], v - drag.from[1]) < 2 && s.outlines) s.selected = panel.regionAt(u, v)?.id ?? null
      if (s.selected !== null && drag.kind === 'look') requestAnimationFrame(() => s.selected !== null && this.table.show(s.selected))
      if (drag.kind === 'point' && panel.role !== 'result') void this.prompt(panel.side, { point: panel.index(u, v) })
      if (drag.kind === 'box' && panel.role !== 'result') {
        const far = Math.abs(u - drag.from[0]) > 2 && Math.abs(v - drag.from[1]) > 2
        if (far) void this.prompt(panel.side, { box: [...panel.index(...drag.from), ...panel.index(u, v)] })
        else this.say('Drag the box from corner to corner.', true)
      }
      this.redraw()
    })
    canvas.addEventListener('pointercancel', () => { panel.drag = null; this.redraw() })
    canvas.addEventListener('pointerleave', () => { panel.pointer = null; if (s.hover !== null) s.hover = null; this.redraw() })
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault()
      if (event.ctrlKey) { s.zoom = Math.min(16, Math.max(0.5, s.zoom * 0.998 ** event.deltaY)); this.redraw() }
      else this.step(Math.sign(event.deltaY))
    }, { passive: false })
  }

  private window(panel: Panel, dx: number, dy: number): void {
    const side: Side = panel.role === 'fixed' ? 'fixed' : 'moving'
    const [a, b] = this.state.scene[side].window, whole = b - a
    const [low, high] = this.state.windows[side]
    const centre = (low + high) / 2 + (dy * whole) / 300, width = Math.max(whole / 200, high - low + (dx * whole) / 150)
    this.state.windows[side] = [centre - width / 2, centre + width / 2]
  }

  private pan(panel: Panel, dx: number, dy: number): void {
    const s = this.state, info = s.scene[panel.side]
    const [u0, v0] = panel.toVoxel({ clientX: 0, clientY: 0 }), [u1, v1] = panel.toVoxel({ clientX: dx, clientY: dy })
    s.pan[0] += (u1 - u0) * info.spacing[s.plane.right]
    s.pan[1] += (v1 - v0) * info.spacing[s.plane.down] * (s.plane.flip ? -1 : 1)
  }

  // --- Changing --------------------------------------------------------------------------------------------------

  private async edit(command: Record<string, unknown>): Promise<boolean> {
    const s = this.state
    this.say('saving …')
    try {
      const answer = await post<Edited>('/edit', command)
      s.pairs = s.pairs.filter((p) => !answer.gone.includes(p.id))
      await s.take(answer.pairs)
      if (command.do !== 'rename' && command.do !== 'reject' && command.do !== 'restore') for (const row of answer.pairs) for (const p of s.pairs) if (p.id === row.id || p.structure === row.structure) s.overlaps.delete(p.id)
      if (s.selected !== null && !s.pair(s.selected)) s.selected = null
      this.counts(answer.undo, answer.redo)
      this.say('saved')
      this.redraw()
      return true
    } catch (error) {
      this.say(words(error), true)
      return false
    }
  }

  private tool(tool: Tool): void {
    const s = this.state
    if ((tool === 'brush' || tool === 'erase') && s.selected === null && !s.proposal) { this.say('Choose a pair first: its outline is what the brush mends.', true); return }
    s.tool = tool
    if (tool !== 'brush' && tool !== 'erase' && s.brush) void this.endBrush(true)
    this.prepare()
  }

  /** While a person looks for the place, the segmenter is loaded and sees the slices that are shown. */
  private prepare(): void {
    const s = this.state
    clearTimeout(this.preparing)
    if ((s.tool !== 'point' && s.tool !== 'box') || !s.scene.complete) return
    this.preparing = window.setTimeout(() => {
      const here = `${s.scene.serial} ${s.cursor} ${s.moving}`
      if (here === this.prepared || s.proposal) return
      this.prepared = here
      void post('/prompt/ready', { fixed: s.cursor, moving: s.moving }).catch(() => {}) // the prompt itself will say
    }, PREPARE_MS)
  }

  private async prompt(side: Side, where: { point?: number[]; box?: number[] }): Promise<void> {
    const s = this.state
    const [x, y, z, ...far] = (where.point ?? where.box) as number[]
    const at = (far.length ? [(x + far[0]) / 2, (y + far[1]) / 2, z] : [x, y, z]) as Triple
    if (side === 'moving') s.lookAtMoving(at); else s.lookAt(at)
    s.selected = s.hover = null // its filled outline would cover the answer
    s.proposal = null
    const mine = ++this.asked
    this.card(['Asking the segmenter …'], [['Stop', () => void post('/prompt/stop', {})]])
    try {
      await this.answered(side, await post<Answer>('/prompt', { side, where }), mine)
      this.redraw()
      const begun = this.state.proposal
      if (mine !== this.asked || !begun) return
      await this.answered(side, await post<Answer>('/prompt/more', { number: begun.answer.number }), mine)
      const other: Side = side === 'fixed' ? 'moving' : 'fixed'
      const there = this.state.proposal?.regions[other]
      if (there && mine === this.asked) { const at = there.middle(s.plane.through); if (other === 'moving') s.moving = at; else s.cursor = at }
      this.redraw()
      if (this.state.proposal?.answer.found) this.following = this.more(side, mine)
    } catch (error) {
      if (mine !== this.asked) return
      s.proposal = null
      this.card([words(error)], [['Close', () => this.closeCard()]])
      this.redraw()
    }
  }

  /** The rest of an answer that is on the screen already: both regions through the other slices. */
  private async more(side: Side, mine: number): Promise<void> {
    const s = this.state
    while (mine === this.asked && s.proposal && !s.proposal.answer.complete) {
      try {
        await this.answered(side, await post<Answer>('/prompt/more', { number: s.proposal.answer.number }), mine)
      } catch (error) {
        if (mine === this.asked) { this.closeCard(); this.say(words(error), true) }
        return
      }
      this.redraw()
    }
  }

  /** Where the registration does not put it: this takes seconds, and is done when it is asked for. */
  private elsewhere(): void {
    const p = this.state.proposal
    if (!p) return
    this.card(['Looking elsewhere …'], [['Stop', () => void post('/prompt/stop', {})]])
    this.following = this.more(p.side, this.asked)
  }

  private async answered(side: Side, answer: Answer, mine: number): Promise<void> {
    const regions: Partial<Record<Side, Region>> = {}
    for (const which of ['fixed', 'moving'] as Side[]) { const packed = answer[which]; if (packed) regions[which] = await Region.unpack(packed) }
    if (mine !== this.asked) return // another place was asked for meanwhile, or the card was closed
    this.state.proposal = { answer, side, regions }
    this.offer()
  }

  private offer(): void {
    const p = this.state.proposal
    if (!p) return
    const a = p.answer
    const size = (side: Side): string => { const r = p.regions[side]; const sp = this.state.scene[side].spacing; return r ? amount(r.count * sp[0] * sp[1] * (this.state.scene.fixed.flat ? 1 : sp[2]), this.state) : '–' }
    if (!a.looked) { this.card([`Region: ${size(p.side)}`, 'Looking for its counterpart …'], [['Stop', () => { this.closeCard(); void post('/prompt/stop', {}) }]]); return }
    const facts = a.found
      ? [`Region and counterpart: confidence ${a.confidence.toFixed(2)}`, `similarity ${a.similarity.toFixed(2)}, leads back with IoU ${a.cycle.toFixed(2)}; ${size('fixed')} and ${size('moving')}`]
      : [a.complete ? 'No counterpart.' : 'No counterpart where the registration puts it.', a.reason.charAt(0).toUpperCase() + a.reason.slice(1)]
    if (!a.complete && a.found) facts.push('Following both through the slices …')
    if (this.adding) return // the card says so already
    const add: [string, () => void][] = a.found ? [['Add this pair', () => void this.add()]] : a.complete ? [] : [['Look elsewhere', () => this.elsewhere()]]
    this.card(facts, [...add, ['Discard', () => this.closeCard()]])
  }

  private async add(): Promise<void> {
    const s = this.state
    if (s.brush) await this.endBrush(true)
    if (s.proposal && !s.proposal.answer.complete) {
      const mine = this.asked
      this.card(['Following both through the slices …', 'The pair is added then.'], [['Discard', () => this.closeCard()]])
      this.adding = true
      await this.following
      this.adding = false
      if (mine !== this.asked) return
    }
    const p = s.proposal
    if (!p?.regions.fixed || !p.regions.moving) return
    const body = { do: 'add', fixed: await p.regions.fixed.pack(), moving: await p.regions.moving.pack(), similarity: p.answer.similarity, confidence: p.answer.confidence, name: '' }
    if (!(await this.edit(body))) return
    s.selected = Math.max(...s.pairs.map((pair) => pair.id))
    this.closeCard()
    this.tool('look')
    const pair = s.pair(s.selected)
    if (pair) this.open(pair)
  }

  private card(lines: string[], buttons: [string, () => void][]): void {
    const box = $('proposal')
    box.hidden = false
    box.replaceChildren(...lines.map((line, i) => { const e = document.createElement(i ? 'p' : 'b'); e.textContent = line; return e }))
    const row = document.createElement('p')
    for (const [text, act] of buttons) { const b = document.createElement('button'); b.textContent = text; b.onclick = act; if (text.startsWith('Add') || text.startsWith('Save')) b.className = 'main'; row.append(b) }
    box.append(row)
  }

  private closeCard(): void { this.asked++; $('proposal').hidden = true; this.state.proposal = null; this.state.brush = null; this.redraw() }

  private paint(panel: Panel, u: number, v: number): void {
    const s = this.state
    if (panel.role === 'result') return
    if (s.brush && s.brush.side !== panel.side) { void this.endBrush(true); return }
    if (!s.brush) {
      const pair = s.proposal ? undefined : s.pair(s.selected)
      if (s.proposal && !s.proposal.answer.complete) { this.say('Wait until both regions have been followed through the slices.', true); return }
      const region = s.proposal ? s.proposal.regions[panel.side] : pair?.regions[panel.side]
      if (!region) { this.say('Choose a pair first: its outline is what the brush mends.', true); return }
      s.brush = { side: panel.side, id: pair?.id ?? null, region: region.clone() }
      if (pair) this.card([`Mending pair ${pair.id} in the ${panel.side} image`], [['Save outline', () => void this.endBrush(true)], ['Discard', () => void this.endBrush(false)]])
    }
    s.brush.region.paint(s.plane, s.slice(panel.side), u, v, s.radius, panel.aspect, s.tool === 'brush', s.size(panel.side))
  }

  private async endBrush(save: boolean): Promise<void> {
    const s = this.state, brush = s.brush
    s.brush = null
    if (brush && save) {
      if (!brush.region.count) this.say('Nothing would be left of this region: reject the pair instead.', true)
      else if (brush.id === null) { if (s.proposal) s.proposal.regions[brush.side] = brush.region }
      else await this.edit({ do: 'outline', id: brush.id, side: brush.side, roi: await brush.region.pack() })
    }
    if (!s.proposal) $('proposal').hidden = true
    this.redraw()
  }

  // --- Registering again -----------------------------------------------------------------------------------------

  private async register(kind: 'fit' | 'register'): Promise<void> {
    if (this.state.brush) await this.endBrush(true)
    try {
      for (const name of ['new', 'new jacobian']) this.state.volumes.delete(name)
      this.state.newField = null
      this.state.job = await post<Job>('/job/start', { kind })
      this.choices()
      this.follow()
    } catch (error) {
      this.say(words(error), true)
    }
  }

  private follow(): void {
    clearTimeout(this.timer)
    this.jobLine()
    this.timer = window.setTimeout(async () => {
      try {
        this.state.job = await get<Job>('/job')
      } catch (error) {
        this.say(words(error), true)
        return
      }
      if (this.state.job.state === 'running') this.follow()
      else if (this.state.job.state === 'done') await this.arrived(this.state.job)
      else this.jobLine()
    }, 400)
  }

  private jobLine(): void {
    const job = this.state.job, box = $('job')
    box.hidden = job.state === 'idle'
    box.replaceChildren()
    const say = (text: string): void => { const span = document.createElement('span'); span.textContent = text; box.append(span) }
    const button = (text: string, act: () => void, main = false): void => { const b = document.createElement('button'); b.textContent = text; b.onclick = act; if (main) b.className = 'main'; box.append(b) }
    const close = (): void => void post('/job/discard', {}).then(() => { this.state.job = { state: 'idle' }; this.state.newField = null; this.choices(); this.state.lookAt(this.state.cursor); this.jobLine(); this.redraw() }).catch((error: unknown) => this.say(words(error), true))
    const seconds = `${Math.round(job.seconds ?? 0)} s`
    $<HTMLButtonElement>('register').disabled = job.state === 'running' || !this.state.scene.complete
    if (job.state === 'running') {
      say(`Registering: ${job.stage ?? ''}`)
      const bar = document.createElement('progress')
      if (job.total) { bar.max = job.total; bar.value = job.done ?? 0 }
      bar.setAttribute('aria-label', 'progress')
      box.append(bar)
      say(seconds)
      button('Stop', () => void post<Job>('/job/stop', {}).then(() => this.follow()))
    } else if (job.state === 'stopped') { say(`Stopped after ${seconds}; nothing was changed.`); button('Close', close) }
    else if (job.state === 'failed') { say(`Not registered: ${job.error ?? ''}`); button('Close', close) }
    else if (job.state === 'done') {
      const out = job.outcome
      say(`New result from ${out?.pairs ?? 0} ${out?.pairs === 1 ? 'pair' : 'pairs'} in ${seconds}: ${out?.verdict ?? ''}.`)
      button('Flicker old and new', () => { this.state.mode = 'flicker'; void this.show('new') })
      const name = document.createElement('input')
      name.value = this.state.scene.suggested
      name.setAttribute('aria-label', 'name of the new run folder')
      box.append(name)
      button('Save as new run', () => void post<{ folder: string }>('/save', { name: name.value }).then(() => location.reload()).catch((error: unknown) => this.say(words(error), true)), true)
      button('Discard', close)
    }
  }

  private async arrived(job: Job): Promise<void> {
    const s = this.state
    s.job = job
    this.jobLine()
    if (!job.new) return
    try {
      s.newField = await fieldOf(s.scene, 'new', job.new.nodes)
      s.volumes.set('new', new Volume(await bytes('/volume/new/warped')))
      this.choices()
      await this.show('new')
    } catch (error) {
      this.say(words(error), true)
    }
  }

  // --- Keys ------------------------------------------------------------------------------------------------------

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement
    if (target instanceof HTMLInputElement && target.type !== 'range' && target.type !== 'checkbox') return
    if (target instanceof HTMLSelectElement || (event.altKey && !event.ctrlKey)) return
    const s = this.state
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
    if (event.ctrlKey || event.metaKey) {
      if (key === 'z') { event.preventDefault(); void this.edit({ do: event.shiftKey ? 'redo' : 'undo' }) }
      if (key === 'y') { event.preventDefault(); void this.edit({ do: 'redo' }) }
      return
    }
    const ranged = target instanceof HTMLInputElement && target.type === 'range'
    const pair = s.pair(s.selected)
    const next = (by: number): void => {
      const listed = s.listed()
      if (!listed.length) return
      const at = listed.findIndex((p) => p.id === s.selected)
      this.open(listed[(at + by + listed.length + (at < 0 && by < 0 ? 1 : 0)) % listed.length])
    }
    const acts: Record<string, () => void> = {
      ...(ranged ? {} : { ArrowUp: () => this.step(-1), ArrowDown: () => this.step(1), ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1) }),
      PageUp: () => this.step(-5), PageDown: () => this.step(5),
      o: () => { s.outlines = !s.outlines }, g: () => { s.grid = !s.grid }, j: () => { if (s.scene.jacobian) void this.jacobian() },
      n: () => next(1), p: () => next(-1),
      x: () => { if (pair) void this.edit({ do: pair.keep ? 'reject' : 'restore', ids: [pair.id] }) },
      r: () => { if (pair) this.table.startRename(pair) },
      '1': () => { s.mode = 'alone' }, '2': () => { s.mode = 'swipe' }, '3': () => { s.mode = 'blend' }, '4': () => { s.mode = 'checkerboard' }, '5': () => { s.mode = 'difference' }, '6': () => { s.mode = 'flicker' },
      l: () => this.tool('look'), w: () => this.tool('window'), c: () => this.tool('point'), b: () => this.tool('box'), m: () => this.tool('brush'), e: () => this.tool('erase'),
      '+': () => { s.zoom = Math.min(16, s.zoom * 1.25) }, '-': () => { s.zoom = Math.max(0.5, s.zoom / 1.25) }, '0': () => { s.zoom = 1; s.pan = [0, 0] },
      Escape: () => { if (s.brush) void this.endBrush(false); else { this.closeCard(); s.selected = null } },
      '?': () => this.help(),
    }
    const act = acts[key]
    if (!act) return
    event.preventDefault()
    act()
    this.redraw()
  }

  private help(): void {
    const rows: [string, string][] = [
      ['wheel, arrow keys', 'next slice'], ['Ctrl and wheel, + −, 0', 'larger, smaller, as at first'], ['Shift and drag', 'move the images'], ['right button, drag', 'brightness and contrast'],
      ['1 to 6', 'alone, swipe, blend, checkerboard, difference, flicker'], ['O, G, J', 'outlines, grid, Jacobian'], ['N, P', 'next and previous pair'], ['X', 'reject the chosen pair, or take it back'], ['R', 'rename it'],
      ['C, B', 'point and box: find a region and its counterpart'], ['M, E', 'brush and eraser'], ['L, W', 'look, window'], ['Ctrl+Z, Ctrl+Y', 'undo, and again'], ['Esc', 'leave'],
    ]
    const dialog = $<HTMLDialogElement>('keys')
    const list = document.createElement('dl')
    for (const [keys, what] of rows) { const dt = document.createElement('dt'), dd = document.createElement('dd'); dt.textContent = keys; dd.textContent = what; list.append(dt, dd) }
    const close = document.createElement('button')
    close.textContent = 'Close'
    close.onclick = () => dialog.close()
    const more = document.createElement('p')
    more.textContent = `Every change is written at once into ${this.state.scene.folder}; samreg fit on it registers from the same pairs. Not a medical device.`
    dialog.replaceChildren(list, more, close)
    dialog.showModal()
  }
}

function shareOf(canvas: HTMLCanvasElement, event: PointerEvent): number {
  const box = canvas.getBoundingClientRect()
  return Math.min(0.98, Math.max(0.02, (event.clientX - box.left) / box.width))
}

function words(error: unknown): string { return error instanceof Error ? error.message : String(error) }

async function main(): Promise<void> {
  history.replaceState(null, '', '/') // the token is in the cookie now
  try {
    const scene = await get<Scene>('/scene')
    const there = [['fixed', scene.fixed.there], ['moving', scene.moving.there], ['warped', scene.warped]] as const
    const images = there.filter(([, is]) => is).map(([name]): [string, Promise<ArrayBuffer>] => [name, bytes(`/volume/run/${name}`)])
    for (const [, image] of images) image.catch(() => {}) // told where it is waited for
    const app = new App(new State(scene, await fieldOf(scene, 'run', scene.nodes)))
    await app.load(images)
  } catch (error) {
    $('title').textContent = words(error)
    document.body.dataset.ready = 'failed'
  }
}

void main()
