// A model runs in the host; a test outside of a component has none.

function nowhere() {
  throw new Error("there is no model outside of a component: eyot test runs the component itself");
}

export const Model = { open: nowhere, load: nowhere };
