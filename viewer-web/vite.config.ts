import { defineConfig } from 'vite'

// No inlined assets and no inline scripts: the server's content security policy allows files of its own only.
export default defineConfig({
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 4096 },
})
