// Three planes and the volume of one image, by NiiVue. It needs WebGL 2 and is loaded when it is asked for.

import type { Triple } from './api'
import type { State } from './state'

type NiiVue = InstanceType<typeof import('@niivue/niivue').Niivue>

export class ThreeD {
  private nv: NiiVue | null = null
  private shown = ''
  private choice = document.createElement('div')
  private note = document.createElement('p')
  private name = 'fixed'

  constructor(private root: HTMLElement, private state: State, private moved: () => void) {
    this.choice.className = 'group'
    this.note.className = 'notice'
    root.append(this.choice, this.note)
  }

  /** Draws what the state says; the first call loads NiiVue. */
  async update(): Promise<void> {
    const names = ['fixed', 'moving', 'warped', 'new'].filter((n) => this.state.volumes.has(n))
    this.choice.replaceChildren(...names.map((n) => {
      const button = document.createElement('button')
      button.textContent = n === 'new' ? 'new result' : n
      button.setAttribute('aria-pressed', String(n === this.name))
      button.addEventListener('click', () => { this.name = n; void this.update() })
      return button
    }))
    const volume = this.state.volumes.get(this.name)
    if (!volume) return
    if (!this.nv) {
      this.note.textContent = 'loading NiiVue …'
      try {
        const { Niivue, SHOW_RENDER } = await import('@niivue/niivue')
        const canvas = document.createElement('canvas')
        this.root.append(canvas)
        const nv = new Niivue({
          loadingText: '', thumbnail: '', dragAndDropEnabled: false, isRadiologicalConvention: true, sagittalNoseLeft: true,
          multiplanarShowRender: SHOW_RENDER.ALWAYS, logLevel: 'error', isOrientationTextVisible: this.state.scene.fixed.letters[0][0] !== '',
          crosshairWidth: 1, backColor: [0, 0, 0, 1],
        })
        await nv.attachToCanvas(canvas)
        nv.onLocationChange = (location) => {
          const at = (location as { vox?: number[] }).vox
          if (!at || at.length < 3) return
          const v = volumeIndex(at as Triple)
          if (this.name === 'moving') this.state.lookAtMoving(v); else this.state.lookAt(v)
          this.moved()
        }
        this.nv = nv
      } catch (error) {
        this.note.textContent = `This browser shows no volumes (WebGL 2 is needed): ${error instanceof Error ? error.message : String(error)}`
        return
      }
    }
    this.note.textContent = ''
    const { NVImage } = await import('@niivue/niivue')
    const side = this.name === 'moving' ? 'moving' : 'fixed'
    const key = `${this.state.scene.serial} ${this.name}`
    if (this.shown !== key) {
      this.shown = key
      while (this.nv.volumes.length) this.nv.removeVolume(this.nv.volumes[0])
      const [low, high] = this.state.windows[this.name === 'fixed' ? 'fixed' : 'moving']
      // NiiVue keeps the buffer and may turn it; the page needs its own.
      const image = await NVImage.loadFromUrl({ url: 'volume.nii', name: 'volume.nii', buffer: volume.buffer.slice(0), cal_min: low, cal_max: high })
      this.nv.addVolume(image)
    }
    const size = this.state.size(side), at = side === 'moving' ? this.state.moving : this.state.cursor
    // The array runs to the left and back, NiiVue's fractions to the right and front.
    const share = at.map((v, a) => (v + 0.5) / size[a])
    this.nv.scene.crosshairPos = [1 - share[0], 1 - share[1], share[2]] as unknown as typeof this.nv.scene.crosshairPos
    this.nv.drawScene()
  }

  /** Frees the memory that the volume takes on the graphics card. */
  clear(): void {
    if (!this.nv) return
    while (this.nv.volumes.length) this.nv.removeVolume(this.nv.volumes[0])
    this.shown = ''
  }
}

function volumeIndex(at: Triple): Triple { return [at[0], at[1], at[2]] }
