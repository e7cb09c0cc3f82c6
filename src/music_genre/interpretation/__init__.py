"""What networks respond to: saliency, feature visualization, embeddings and architecture, one question a module.

``activations`` finds the layers and models that the others look into, ``plots`` draws.
"""
