"""The maths and the story of instruction-based editing on FLUX, free of nodes and user interface.

Read in data-flow order: `tasks` names what an instruction asks for, `geometry` sizes the picture, `classify` finds
the task, `reference` turns the source into tokens, `moe` computes the routed delta, `sites` says where it attaches,
`checkpoint` reads and writes it, `attach` puts it on a module tree and takes it off again. Only `comfy_bridge`
imports the host.
"""
